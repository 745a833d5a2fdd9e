//! `selvedge policy test`: requests with what should become of them, judged against policies.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use selvedge_act::visible;
use selvedge_policy::{CaseFile, MeshSettings};

use crate::cli::PolicyTestArgs;
use crate::exit::{Failure, Outcome};
use crate::output;

pub(super) fn run(args: &PolicyTestArgs) -> Outcome {
    let settings = MeshSettings::from(&args.mesh);
    let (mut passed, mut failed) = (0_usize, 0_usize);
    let mut out = output::stdout();
    for path in &args.files {
        let file = CaseFile::parse(&super::read(path)?, &path.display().to_string(), &settings)
            .map_err(|problems| super::told(&problems))?;
        let beside = path.parent().unwrap_or(Path::new(""));
        let policies: Vec<PathBuf> = file.policy_files().iter().map(|name| beside.join(name)).collect();
        for result in file.run(super::read_policies(&policies, &settings)?) {
            if result.passed {
                passed += 1;
            } else {
                failed += 1;
            }
            if !result.passed || args.verbose {
                let word = if result.passed { "pass" } else { "FAIL" };
                let (name, message) = (visible(&result.name), visible(&result.message));
                writeln!(out, "{word}  {}:{}: {name}: {message}", path.display(), result.line)?;
            }
        }
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    if failed > 0 {
        let cases = passed + failed;
        return Err(Failure::expectation(anyhow::anyhow!(
            "{failed} of {cases} cases went otherwise than expected"
        )));
    }
    Ok(())
}

//! The YAML folder beside the proxies, on a task of its own: a slow repository or a hook that hangs holds up neither a lift
//! nor a lease. Only the latest set counts, and what could not be done is tried again.

use std::time::Duration;

use selvedge_model::Quarantine;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::yaml_folder::YamlFolder;

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// How long the last set may take when the process ends.
const LAST: Duration = Duration::from_secs(10);

/// Keeps a folder equal to the latest set of live quarantines.
pub(super) struct Files {
    wanted: watch::Sender<Vec<Quarantine>>,
    tasks: JoinSet<()>,
}

impl Files {
    /// Begins with `live`. To be called in a runtime.
    pub(super) fn start(folder: YamlFolder, live: Vec<Quarantine>) -> Self {
        let (wanted, receiver) = watch::channel(live);
        let mut tasks = JoinSet::new();
        tasks.spawn(keep(folder, receiver));
        Self { wanted, tasks }
    }

    /// From now on the folder is to hold these.
    pub(super) fn want(&self, live: Vec<Quarantine>) {
        self.wanted.send_if_modified(|wanted| {
            let news = *wanted != live;
            *wanted = live;
            news
        });
    }

    /// Lets the task finish what it was told last.
    pub(super) async fn close(self) {
        drop(self.wanted);
        if timeout(LAST, self.tasks.join_all()).await.is_err() {
            tracing::error!("the YAML folder was not brought up to date before the end");
        }
    }
}

async fn keep(folder: YamlFolder, mut wanted: watch::Receiver<Vec<Quarantine>>) {
    loop {
        let live = wanted.borrow_and_update().clone();
        let unwritten = folder.apply(live.iter()).await;
        for one in &unwritten {
            tracing::error!(quarantine = one.id, why = one.why, "the YAML folder is not as it should be");
        }
        let news = wanted.changed();
        let ended = if unwritten.is_empty() {
            news.await.is_err()
        } else {
            timeout(RETRY, news).await.is_ok_and(|news| news.is_err())
        };
        if ended {
            return;
        }
    }
}

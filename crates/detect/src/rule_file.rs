//! The YAML of one rule: Sigma's header, then what this engine needs.

use selvedge_model::Severity;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What every rule file has, whatever its kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) title: String,
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) level: Severity,
    pub(crate) tags: Vec<String>,
    pub(crate) false_positives: Vec<String>,
    pub(crate) enabled: bool,
    pub(crate) runbook: String,
}

/// A rule file with the parameters of its kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleFile<P> {
    title: String,
    id: Uuid,
    #[serde(rename = "status")]
    _status: Status,
    description: String,
    #[serde(rename = "references")]
    _references: Vec<String>,
    #[serde(rename = "author")]
    _author: String,
    #[serde(rename = "date")]
    _date: Date,
    level: Level,
    tags: Vec<Tag>,
    #[serde(rename = "logsource")]
    _logsource: LogSource,
    falsepositives: Vec<String>,
    #[serde(rename = "kind")]
    _kind: String,
    enabled: bool,
    parameters: P,
    runbook: String,
}

/// Only the kind, to know how to read the rest.
#[derive(Deserialize)]
pub(crate) struct KindOnly {
    pub(crate) kind: serde_saphyr::Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogSource {
    #[serde(rename = "product")]
    _product: ServiceMesh,
    #[serde(rename = "category")]
    _category: MeshEdge,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ServiceMesh {
    ServiceMesh,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum MeshEdge {
    MeshEdge,
}

/// Sigma's words for how mature a rule is.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Stable,
    Test,
    Experimental,
    Deprecated,
    Unsupported,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Level(Severity);

impl TryFrom<String> for Level {
    type Error = String;
    fn try_from(value: String) -> Result<Self, Self::Error> {
        let unknown = || format!("level `{value}` is none of informational, low, medium, high, critical");
        Severity::parse(&value).map(Self).ok_or_else(unknown)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Uuid(String);

impl TryFrom<String> for Uuid {
    type Error = String;
    fn try_from(value: String) -> Result<Self, Self::Error> {
        let lengths: Vec<usize> = value.split('-').map(str::len).collect();
        let digits = value.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        if lengths == [8, 4, 4, 4, 12] && digits {
            Ok(Self(value))
        } else {
            Err(format!("`{value}` is not a UUID"))
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Date;

impl TryFrom<String> for Date {
    type Error = String;
    fn try_from(value: String) -> Result<Self, Self::Error> {
        let lengths: Vec<usize> = value.split('-').map(str::len).collect();
        let digits = value.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
        if lengths == [4, 2, 2] && digits {
            Ok(Self)
        } else {
            Err(format!("`{value}` is not a date like 2026-11-23"))
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Tag(String);

impl TryFrom<String> for Tag {
    type Error = String;
    fn try_from(value: String) -> Result<Self, Self::Error> {
        let lower = !value.chars().any(char::is_uppercase);
        if lower && value.contains('.') {
            Ok(Self(value))
        } else {
            Err(format!("`{value}` is not a tag like attack.t1021"))
        }
    }
}

impl<P: DeserializeOwned> RuleFile<P> {
    pub(crate) fn read(text: &str) -> Result<(Header, P), serde_saphyr::Error> {
        let file: Self = serde_saphyr::from_str(text)?;
        let header = Header {
            title: file.title,
            id: file.id.0,
            description: file.description,
            level: file.level.0,
            tags: file.tags.into_iter().map(|tag| tag.0).collect(),
            false_positives: file.falsepositives,
            enabled: file.enabled,
            runbook: file.runbook.trim().to_owned(),
        };
        Ok((header, file.parameters))
    }
}

/// ATT&CK technique ids among the tags: `attack.t1552.007` is `T1552.007`; tactics are no techniques.
pub(crate) fn techniques(tags: &[String]) -> Vec<String> {
    let technique = |tag: &String| {
        let id = tag.strip_prefix("attack.t")?;
        id.starts_with(|first: char| first.is_ascii_digit()).then(|| format!("T{id}"))
    };
    tags.iter().filter_map(technique).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn techniques_are_read_from_tags_and_tactics_are_not() {
        let tags =
            ["attack.t1552.007", "attack.lateral_movement", "attack.tactic", "cve.2026.1"].map(str::to_owned);
        assert_eq!(techniques(&tags), ["T1552.007"]);
    }
}

//! Tests of the readers alone, without the normaliser: what a sink is given, for both encodings.

mod generate;
mod hostile;
mod json_rules;
mod oracle;
mod seen;
mod write_json;

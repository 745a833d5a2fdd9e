//! Tests of the readers alone, without the normaliser: what a sink is given, for both encodings. Only `warm` goes
//! through the whole decoder.

mod generate;
mod hostile;
mod json_rules;
mod oracle;
mod seen;
mod warm;
mod write_json;

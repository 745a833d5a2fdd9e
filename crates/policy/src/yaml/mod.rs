//! YAML as a tree: read with the place of everything, written so that no value can become anything but itself.

mod read;
mod write;

pub(crate) use read::{Kind, Node, documents};
pub(crate) use write::{Yaml, map, text, texts, write_documents};

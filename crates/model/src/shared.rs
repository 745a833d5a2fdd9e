//! A value that a copy shares until one of the two changes it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A copy costs a count, whatever the value's size; who changes it first pays for the copy, if there still is another.
/// So a checkpoint holds what was known at one moment, and the engine goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// A value that nobody else has.
    pub fn new(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T: Clone> Shared<T> {
    /// The value alone; it is copied only where somebody else has it.
    pub fn into_value(self) -> T {
        Arc::unwrap_or_clone(self.0)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(from).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_what_it_was_and_is_made_only_when_it_must() {
        let mut value = Shared::new(vec![1]);
        let before: *const Vec<i32> = &raw const *value;
        value.push(2);
        assert!(std::ptr::eq(before, &raw const *value), "nobody else had it");
        let copy = value.clone();
        assert!(std::ptr::eq(&raw const *copy, &raw const *value));
        value.push(3);
        assert_eq!((copy.len(), value.len()), (2, 3));
        assert_eq!((copy.clone().into_value(), copy.into_value()), (vec![1, 2], vec![1, 2]));
    }
}

//! The attribute names we understand, in every dialect, and the field each one fills.

/// Number of fields.
pub(crate) const FIELD_COUNT: usize = 1;

/// What an attribute means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Field {
    ServiceName,
}

/// The field that an attribute name fills, if we have a use for it. Called once per attribute on the hot path.
pub(crate) fn field_of(_name: &[u8]) -> Option<Field> {
    None
}

//! The attribute names that the next record will probably carry, so that they need not be looked up.
//!
//! Records of one sender carry the same attributes in the same order. Position by position the encoded head of the
//! attribute (tag and length of the key, the key, tag of the value) is kept with the field that it fills: the same
//! bytes again mean the same field, by one comparison. A wrong guess costs a lookup and is corrected.

use crate::field::{Field, field_of};

/// Positions remembered; attributes beyond are looked up. Proxies write about twenty.
const POSITIONS_MAX: usize = 128;
/// Longest head remembered: a key of 64 bytes (no name of ours is longer) and three bytes around it.
const HEAD_MAX: usize = 67;
/// Tag of `KeyValue.key`, a length-delimited field 1.
const KEY_TAG: u8 = 0x0a;
/// Tag of `KeyValue.value`, a length-delimited field 2.
const VALUE_TAG: u8 = 0x12;

/// Whose attributes are read; the two are guessed apart because they alternate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Resource,
    Record,
}

/// An attribute's bytes up to its value, and what its name means.
struct Head {
    bytes: [u8; HEAD_MAX],
    length: usize,
    field: Option<Field>,
}

/// What was there last time, by owner and position.
#[derive(Default)]
pub(crate) struct ExpectedNames {
    resource: Vec<Head>,
    record: Vec<Head>,
    is_resource: bool,
    position: usize,
}

impl ExpectedNames {
    /// The attributes of another record (or resource) begin.
    #[inline]
    pub(crate) fn restart(&mut self, owner: Owner) {
        self.is_resource = owner == Owner::Resource;
        self.position = 0;
    }

    /// The next attribute. When it begins as expected: the length of its head and the field that its name fills.
    #[inline]
    pub(crate) fn next(&mut self, attribute: &[u8]) -> Option<(usize, Option<Field>)> {
        let heads = if self.is_resource { &self.resource } else { &self.record };
        let head = heads.get(self.position);
        self.position += 1;
        let head = head?;
        (attribute.get(..head.length)? == &head.bytes[..head.length]).then_some((head.length, head.field))
    }

    /// The field of the attribute that [`Self::next`] did not expect; it will be expected from now on.
    pub(crate) fn look_up(&mut self, attribute: &[u8], name: &[u8]) -> Option<Field> {
        let field = field_of(name);
        let heads = if self.is_resource { &mut self.resource } else { &mut self.record };
        let position = self.position.saturating_sub(1);
        if let Some(bytes) = head_of(attribute, name)
            && position < POSITIONS_MAX
        {
            let mut head = Head { bytes: [0; HEAD_MAX], length: bytes.len(), field };
            head.bytes[..bytes.len()].copy_from_slice(bytes);
            // Beyond the end there is a gap: an attribute before could not be remembered, and this one is not either.
            if position == heads.len() {
                heads.push(head);
            } else if let Some(slot) = heads.get_mut(position) {
                *slot = head;
            }
        }
        field
    }
}

/// The attribute up to and with the tag of its value, when it is written the way every encoder writes it.
fn head_of<'a>(attribute: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let length = name.len() + 3;
    let head = attribute.get(..length).filter(|_| length <= HEAD_MAX)?;
    let usual = head[0] == KEY_TAG
        && usize::from(head[1]) == name.len()
        && &head[2..length - 1] == name
        && head[length - 1] == VALUE_TAG;
    usual.then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(name: &str) -> Vec<u8> {
        let length = u8::try_from(name.len()).unwrap();
        [&[KEY_TAG, length], name.as_bytes(), &[VALUE_TAG, 3, 0x0a, 1, b'x']].concat()
    }

    fn ask(names: &mut ExpectedNames, name: &str) -> (bool, Option<Field>) {
        let bytes = attribute(name);
        match names.next(&bytes) {
            Some((_, field)) => (true, field),
            None => (false, names.look_up(&bytes, name.as_bytes())),
        }
    }

    #[test]
    fn names_are_expected_where_they_were_and_a_wrong_guess_is_corrected() {
        let mut names = ExpectedNames::default();
        for (first, expected) in [("http.method", false), ("http.method", true), ("nobody.knows", false)] {
            names.restart(Owner::Record);
            assert_eq!(ask(&mut names, first), (expected, field_of(first.as_bytes())), "{first}");
            assert_eq!(ask(&mut names, "node_id").1, Some(Field::NodeId));
        }
        names.restart(Owner::Resource);
        assert_eq!(ask(&mut names, "node_id"), (false, Some(Field::NodeId)));
        names.restart(Owner::Record);
        assert_eq!(ask(&mut names, "nobody.knows"), (true, None));
        assert_eq!(ask(&mut names, "node_id"), (true, Some(Field::NodeId)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut names = ExpectedNames::default();
        names.restart(Owner::Record);
        for number in 0..10 * POSITIONS_MAX {
            ask(&mut names, &format!("attribute-{number}"));
        }
        assert_eq!(names.record.len(), POSITIONS_MAX);
        names.restart(Owner::Record);
        ask(&mut names, &"x".repeat(100));
        names.restart(Owner::Record);
        assert_eq!(ask(&mut names, "attribute-0"), (true, None), "a long name is not remembered");
    }
}

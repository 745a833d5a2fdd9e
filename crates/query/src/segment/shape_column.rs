//! A column over the shapes of a book, in Arrow's form: what rows are gathered from.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, PrimitiveArray, StringBuilder,
    TimestampNanosecondArray,
};
use arrow::datatypes::UInt32Type;
use hashbrown::HashMap;
use selvedge_model::hash::{FixedMap, StableHasher, fixed_state};
use selvedge_model::tables::{ColumnDef, ColumnKind};
use selvedge_model::{EdgeKey, Symbol};

use crate::schema::UTC;
use crate::segment::names::Names;
use crate::segment::shape::Cell;

/// Builds the column. Equal texts get one entry in the dictionary, so that it stays small: what DataFusion does with a
/// dictionary (hash, compare, match) costs by its entries, for every batch.
pub(crate) fn build(column: &ColumnDef, cells: impl Iterator<Item = Cell>, names: &Names) -> ArrayRef {
    match column.kind {
        ColumnKind::Text | ColumnKind::TextList => text(cells, names),
        ColumnKind::Code => Arc::new(Int32Array::from_iter(cells.map(|cell| match cell {
            Cell::Code(code) => code,
            _ => None,
        }))),
        ColumnKind::Flag => {
            Arc::new(BooleanArray::from_iter(cells.map(|cell| Some(matches!(cell, Cell::Flag(true))))))
        }
        ColumnKind::Time => Arc::new(
            TimestampNanosecondArray::from_iter(cells.map(|cell| match cell {
                Cell::Time(time) if time.present() => Some(time.0.cast_signed()),
                _ => None,
            }))
            .with_timezone(UTC),
        ),
        ColumnKind::Integer | ColumnKind::Number => edge_ids(cells, names),
    }
}

fn text(cells: impl Iterator<Item = Cell>, names: &Names) -> ArrayRef {
    let mut values = StringBuilder::new();
    let mut entries = 0_u32;
    let mut symbols: FixedMap<Symbol, u32> = HashMap::with_hasher(fixed_state());
    let mut words: Vec<(&'static str, u32)> = Vec::new();
    let mut entry = |text: &str| {
        values.append_value(text);
        entries += 1;
        entries - 1
    };
    let keys = cells.map(|cell| match cell {
        Cell::Text(symbol) if symbol.present() => {
            Some(*symbols.entry(symbol).or_insert_with(|| entry(names.resolve(symbol))))
        }
        Cell::Word(word) => {
            let known = words.iter().find(|(known, _)| *known == word).map(|(_, key)| *key);
            Some(known.unwrap_or_else(|| {
                let key = entry(word);
                words.push((word, key));
                key
            }))
        }
        _ => None,
    });
    let keys: PrimitiveArray<UInt32Type> = keys.collect();
    Arc::new(DictionaryArray::new(keys, Arc::new(values.finish())))
}

fn edge_ids(cells: impl Iterator<Item = Cell>, names: &Names) -> ArrayRef {
    let mut known: FixedMap<EdgeKey, i64> = HashMap::with_hasher(fixed_state());
    Arc::new(Int64Array::from_iter(cells.map(|cell| match cell {
        Cell::Edge(key) => {
            Some(*known.entry(key).or_insert_with(|| edge_id(key, |symbol| names.resolve(symbol))))
        }
        _ => None,
    })))
}

/// Leaves 53 bits: what every client reads exactly, also those that know floating-point numbers only.
const EDGE_ID_SHIFT: u32 = 11;

/// The number of an edge: a hash of its names, so that it is the same in every segment, file and process.
pub(crate) fn edge_id<'a>(key: EdgeKey, resolve: impl Fn(Symbol) -> &'a str) -> i64 {
    let ends = [key.source, key.destination];
    let names = ends.iter().flat_map(|node| [node.cluster, node.namespace, node.workload]);
    let hash = names.fold(StableHasher::default(), |hash, symbol| hash.field(resolve(symbol).as_bytes()));
    (hash.field(&[u8::from(key.external)]).value() >> EDGE_ID_SHIFT).cast_signed()
}

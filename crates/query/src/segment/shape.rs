//! Shapes: all that many rows of a table share. A row holds the number of its shape in a book.
//!
//! A book has room for 65,536 shapes, so that a number takes two bytes. A full book is closed and the next segment
//! begins with a new one; a book goes when the last segment that uses it goes. Hence a flood of invented shapes costs
//! what its rows cost, and no more.

use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, OnceLock};

use arrow::array::ArrayRef;
use hashbrown::HashTable;
use selvedge_model::hash::fixed_state;
use selvedge_model::tables::TableDef;
use selvedge_model::{EdgeKey, EventTime, Symbol};

use crate::segment::names::Names;
use crate::segment::shape_column;

/// Shapes of a chunk: what a snapshot may have to copy.
const CHUNK_SHAPES: usize = 1_024;
/// Slots of the memo of recent shapes: more than a large mesh has. Those that are not needed are never touched.
const MEMO_SLOTS: usize = 1 << MEMO_BITS;
const MEMO_BITS: u32 = 15;

/// What a shape says in one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell {
    /// Text of the symbol table; the absent symbol is NULL.
    Text(Symbol),
    /// One of a few words.
    Word(&'static str),
    /// A code, or NULL.
    Code(Option<i32>),
    /// Yes or no.
    Flag(bool),
    /// A moment; the absent one is NULL.
    Time(EventTime),
    /// The number of an edge.
    Edge(EdgeKey),
}

/// All that many rows share.
pub(crate) trait Shape: Copy + Eq + Hash + Send + Sync + 'static {
    /// The table whose rows have this shape.
    const TABLE: &'static TableDef;

    /// A cheap mix of the fields that vary most, for the memo.
    fn mix(&self) -> u64;

    /// How to read a column from a shape; `None` when rows, not shapes, fill that column.
    fn reader(column: &str) -> Option<fn(&Self) -> Cell>;
}

/// Distinct shapes by number and numbers by shape.
pub(crate) struct Book<S> {
    full: Vec<Arc<Vec<S>>>,
    last: Vec<S>,
    index: HashTable<u16>,
    memo: Vec<u16>,
    /// The view made last, and still right when nothing was added.
    view: Option<Arc<BookView<S>>>,
}

impl<S: Shape> Book<S> {
    pub(crate) fn new() -> Self {
        Self {
            full: Vec::new(),
            last: Vec::new(),
            index: HashTable::new(),
            memo: vec![0; MEMO_SLOTS],
            view: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.full.len() * CHUNK_SHAPES + self.last.len()
    }

    /// The number of a shape; `None` when it is new and the book is full.
    pub(crate) fn number(&mut self, shape: &S) -> Option<u16> {
        let mix = shape.mix().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = usize::try_from(mix >> (u64::BITS - MEMO_BITS)).unwrap_or(0);
        let recent = self.memo[slot];
        if self.get(recent) == Some(shape) {
            return Some(recent);
        }
        let hash = fixed_state().hash_one(shape);
        let found = self.index.find(hash, |number| self.get(*number) == Some(shape)).copied();
        let number = match found {
            Some(number) => number,
            None => self.add(hash, shape)?,
        };
        self.memo[slot] = number;
        Some(number)
    }

    fn add(&mut self, hash: u64, shape: &S) -> Option<u16> {
        let number = u16::try_from(self.len()).ok()?;
        self.last.push(*shape);
        if self.last.len() == CHUNK_SHAPES {
            self.full.push(Arc::new(std::mem::take(&mut self.last)));
        }
        let Self { full, last, index, .. } = self;
        index.insert_unique(hash, number, |other| {
            get(full, last, *other).map_or(0, |shape| fixed_state().hash_one(shape))
        });
        Some(number)
    }

    fn get(&self, number: u16) -> Option<&S> {
        get(&self.full, &self.last, number)
    }

    /// An immutable copy; the one made before when nothing was added.
    pub(crate) fn view(&mut self, names: &Names) -> Arc<BookView<S>> {
        if let Some(view) = self.view.as_ref().filter(|view| view.len() == self.len()) {
            return Arc::clone(view);
        }
        let mut chunks = self.full.clone();
        if !self.last.is_empty() {
            chunks.push(Arc::new(self.last.clone()));
        }
        let columns = S::TABLE.columns.iter().map(|_| OnceLock::new()).collect();
        let view = Arc::new(BookView { chunks, shapes: self.len(), names: names.clone(), columns });
        self.view = Some(Arc::clone(&view));
        view
    }

    /// The book is full: what only writing needs goes.
    pub(crate) fn close(&mut self) {
        self.index = HashTable::new();
        self.memo = Vec::new();
        self.last.shrink_to_fit();
    }

    pub(crate) fn bytes(&self) -> usize {
        let shapes = self.full.len() * CHUNK_SHAPES + self.last.capacity();
        let view = self.view.as_ref().map_or(0, |view| view.bytes());
        shapes * size_of::<S>() + self.index.capacity() * 3 + self.memo.capacity() * 2 + view
    }
}

fn get<'a, S>(full: &'a [Arc<Vec<S>>], last: &'a [S], number: u16) -> Option<&'a S> {
    let (chunk, at) = (usize::from(number) / CHUNK_SHAPES, usize::from(number) % CHUNK_SHAPES);
    full.get(chunk).map_or(last, |chunk| chunk.as_slice()).get(at)
}

/// The shapes of a book at one moment, and their columns in Arrow's form, made when first asked for.
pub(crate) struct BookView<S> {
    chunks: Vec<Arc<Vec<S>>>,
    shapes: usize,
    names: Names,
    columns: Vec<OnceLock<ArrayRef>>,
}

/// A view of a book, whatever its shapes are.
pub(crate) trait Shapes: Send + Sync {
    /// Number of shapes.
    fn len(&self) -> usize;

    /// A column of the table over all shapes, in their order; `None` when rows fill that column.
    fn column(&self, position: usize) -> Option<ArrayRef>;
}

impl<S: Shape> BookView<S> {
    fn len(&self) -> usize {
        self.shapes
    }

    fn bytes(&self) -> usize {
        self.columns.iter().filter_map(OnceLock::get).map(|array| array.get_array_memory_size()).sum()
    }
}

impl<S: Shape> Shapes for BookView<S> {
    fn len(&self) -> usize {
        self.shapes
    }

    fn column(&self, position: usize) -> Option<ArrayRef> {
        let column = S::TABLE.columns.get(position)?;
        let reader = S::reader(column.name)?;
        let cells = || self.chunks.iter().flat_map(|chunk| chunk.iter()).map(reader);
        let made =
            self.columns.get(position)?.get_or_init(|| shape_column::build(column, cells(), &self.names));
        Some(Arc::clone(made))
    }
}

//! One table's rows: an open block, full blocks, sealed segments; oldest segments go at the byte budget.

use std::collections::VecDeque;
use std::sync::Arc;

use selvedge_model::tables::TableDef;

use crate::segment::block::{Block, Bounds, Row};
use crate::segment::names::Names;
use crate::segment::shape::{Book, Shape, Shapes};

/// When segments are sealed and dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Rows of a segment.
    pub(crate) rows_max: usize,
    /// Event time a segment spans, in nanoseconds.
    pub(crate) age_max: u64,
    /// Bytes of the whole table.
    pub(crate) bytes_max: usize,
    /// Sealed segments are kept aside for [`TableStore::take_sealed`].
    pub(crate) hand_over: bool,
}

/// Sealed segments that wait to be handed over; past it the oldest is forgotten (policy `drop`, counted).
const WAITING_MAX: usize = 64;

/// Some blocks that are kept, dropped and written together. Never changes.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Numbers of one table only grow.
    pub(crate) id: u64,
    pub(crate) blocks: Vec<Arc<Block>>,
    pub(crate) bounds: Bounds,
    pub(crate) rows: usize,
    book: u64,
    bytes: usize,
}

impl Segment {
    fn new(id: u64, book: u64, blocks: Vec<Arc<Block>>) -> Self {
        let mut bounds = Bounds::default();
        blocks.iter().for_each(|block| bounds.merge(&block.bounds));
        let rows = blocks.iter().map(|block| block.rows()).sum();
        let bytes = blocks.iter().map(|block| block.bytes()).sum();
        Self { id, blocks, bounds, rows, book, bytes }
    }
}

/// A segment with the shapes its rows name.
#[derive(Clone)]
pub(crate) struct SegmentView {
    pub(crate) segment: Arc<Segment>,
    pub(crate) shapes: Arc<dyn Shapes>,
}

/// All segments of a table at one moment, oldest first.
pub(crate) struct TableView {
    pub(crate) table: &'static TableDef,
    pub(crate) segments: Vec<SegmentView>,
    /// Number of the first segment, or of the next when there is none.
    pub(crate) first: u64,
}

impl TableView {
    pub(crate) fn bounds(&self) -> Bounds {
        let mut bounds = Bounds::default();
        self.segments.iter().for_each(|view| bounds.merge(&view.segment.bounds));
        bounds
    }
}

/// One table while it is written.
pub(crate) struct TableStore<S: Shape> {
    open: Block,
    blocks: Vec<Arc<Block>>,
    sealed: VecDeque<Arc<Segment>>,
    sealed_bytes: usize,
    /// What the open block will take when it is full, as the one before it.
    ahead_bytes: usize,
    waiting: VecDeque<Arc<Segment>>,
    /// Oldest first; the last is written. A sealed segment names its book by number.
    books: VecDeque<(u64, Book<S>)>,
    segment_next: u64,
    limits: Limits,
    dropped_rows: u64,
    unwritten_rows: u64,
    view: Option<Arc<TableView>>,
}

impl<S: Shape> TableStore<S> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            open: Block::new(),
            blocks: Vec::new(),
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            ahead_bytes: 0,
            waiting: VecDeque::new(),
            books: VecDeque::from([(0, Book::new())]),
            segment_next: 0,
            limits,
            dropped_rows: 0,
            unwritten_rows: 0,
            view: None,
        }
    }

    pub(crate) fn append(&mut self, shape: &S, row: &Row) {
        let number = self.books.back_mut().and_then(|(_, book)| book.number(shape));
        let number = number.unwrap_or_else(|| self.first_of_new_book(shape));
        self.open.push(number, row);
        self.view = None;
        if self.open.full() {
            self.close_block();
        }
    }

    #[cold]
    fn first_of_new_book(&mut self, shape: &S) -> u16 {
        self.seal();
        let next = self.books.back().map_or(0, |(id, _)| id + 1);
        if let Some((_, book)) = self.books.back_mut() {
            book.close();
        }
        let mut book = Book::new();
        let number = book.number(shape).unwrap_or(0);
        self.books.push_back((next, book));
        number
    }

    fn close_block(&mut self) {
        self.ahead_bytes = self.open.bytes();
        self.blocks.push(Arc::new(std::mem::replace(&mut self.open, Block::new())));
        let mut bounds = Bounds::default();
        self.blocks.iter().for_each(|block| bounds.merge(&block.bounds));
        let rows: usize = self.blocks.iter().map(|block| block.rows()).sum();
        let old = bounds.end.1.saturating_sub(bounds.end.0) > self.limits.age_max;
        if rows >= self.limits.rows_max || old {
            self.seal();
        } else {
            self.keep_to_budget();
        }
    }

    /// Ends the open segment, and drops the oldest ones past the byte budget.
    pub(crate) fn seal(&mut self) {
        if self.open.rows() > 0 {
            let mut last = std::mem::replace(&mut self.open, Block::new());
            last.shrink();
            self.blocks.push(Arc::new(last));
        }
        if self.blocks.is_empty() {
            return;
        }
        self.view = None;
        let book = self.books.back().map_or(0, |(id, _)| *id);
        let segment = Arc::new(Segment::new(self.segment_next, book, std::mem::take(&mut self.blocks)));
        self.segment_next += 1;
        self.sealed_bytes += segment.bytes;
        if self.limits.hand_over {
            self.waiting.push_back(Arc::clone(&segment));
        }
        self.sealed.push_back(segment);
        self.keep_to_budget();
    }

    fn keep_to_budget(&mut self) {
        while self.bytes() + self.ahead_bytes > self.limits.bytes_max || self.waiting.len() > WAITING_MAX {
            if self.waiting.len() > WAITING_MAX {
                self.unwritten_rows += self.waiting.pop_front().map_or(0, |segment| segment.rows as u64);
                continue;
            }
            let Some(oldest) = self.sealed.pop_front() else { return };
            self.sealed_bytes -= oldest.bytes;
            self.dropped_rows += oldest.rows as u64;
            let written = self.books.back().map_or(0, |(id, _)| *id);
            let held = [self.sealed.front(), self.waiting.front()];
            let needed = held.into_iter().flatten().map(|segment| segment.book).min().unwrap_or(written);
            while self.books.front().is_some_and(|(id, _)| *id < needed) {
                self.books.pop_front();
            }
        }
    }

    /// Segments sealed since the last time, for the history.
    pub(crate) fn take_sealed(&mut self, names: &Names) -> Vec<SegmentView> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter_map(|segment| self.with_shapes(segment, names)).collect()
    }

    /// All rows as they are now; the view made before when nothing was added.
    pub(crate) fn view(&mut self, names: &Names) -> Arc<TableView> {
        if let Some(view) = &self.view {
            return Arc::clone(view);
        }
        let mut segments: Vec<Arc<Segment>> = self.sealed.iter().cloned().collect();
        let mut blocks = self.blocks.clone();
        if self.open.rows() > 0 {
            blocks.push(Arc::new(self.open.clone()));
        }
        if !blocks.is_empty() {
            let book = self.books.back().map_or(0, |(id, _)| *id);
            segments.push(Arc::new(Segment::new(self.segment_next, book, blocks)));
        }
        let first = segments.first().map_or(self.segment_next, |segment| segment.id);
        let segments = segments.into_iter().filter_map(|segment| self.with_shapes(segment, names)).collect();
        let view = Arc::new(TableView { table: S::TABLE, segments, first });
        self.view = Some(Arc::clone(&view));
        view
    }

    fn with_shapes(&mut self, segment: Arc<Segment>, names: &Names) -> Option<SegmentView> {
        let book = self.books.iter_mut().find(|(id, _)| *id == segment.book)?;
        Some(SegmentView { shapes: book.1.view(names), segment })
    }

    pub(crate) fn rows(&self) -> u64 {
        let sealed: usize = self.sealed.iter().map(|segment| segment.rows).sum();
        let full: usize = self.blocks.iter().map(|block| block.rows()).sum();
        (sealed + full + self.open.rows()) as u64
    }

    pub(crate) fn dropped_rows(&self) -> u64 {
        self.dropped_rows
    }

    pub(crate) fn unwritten_rows(&self) -> u64 {
        self.unwritten_rows
    }

    /// Bytes on the heap, by capacity; what running queries still hold is theirs.
    pub(crate) fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| block.bytes()).sum();
        let books: usize = self.books.iter().map(|(_, book)| book.bytes()).sum();
        self.sealed_bytes + blocks + self.open.bytes() + books
    }

    pub(crate) fn shapes(&self) -> usize {
        self.books.iter().map(|(_, book)| book.len()).sum()
    }
}

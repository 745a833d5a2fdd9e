//! Writes results: as a table for people, CSV, JSON, Arrow's IPC stream or Parquet.

use std::io::Write;
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::csv;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use arrow::json::Writer as JsonWriter;
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::error::SqlError;
use crate::result::QueryResult;

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: columns in a frame. Keeps all rows until the end.
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// One JSON array of objects.
    Json,
    /// Arrow's IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] =
        [Self::Table, Self::Csv, Self::JsonLines, Self::Json, Self::Arrow, Self::Parquet];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Json => "json",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::JsonLines => "application/x-ndjson",
            Self::Json => "application/json",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// Why a result could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The query failed; what was written until then is incomplete.
    #[error(transparent)]
    Query(#[from] SqlError),
    /// The rows could not be written in this format, or the writer failed.
    #[error("the result could not be written")]
    Arrow(#[from] ArrowError),
    /// The same for Parquet.
    #[error("the result could not be written as Parquet")]
    Parquet(#[from] ParquetError),
    /// The writer failed.
    #[error("the result could not be written")]
    Io(#[from] std::io::Error),
}

/// Writes all of a result and returns the number of rows.
///
/// # Errors
/// The query failed on the way, or the writer did. Rows up to [`SqlError::TooManyRows`] are written and finished.
pub async fn write(
    mut result: QueryResult,
    format: Format,
    out: impl Write + Send,
) -> Result<u64, OutputError> {
    let mut writer = BatchWriter::new(format, result.schema(), out)?;
    let mut rows = 0;
    while let Some(batch) = result.next().await {
        match batch {
            Ok(batch) => {
                rows += batch.num_rows() as u64;
                writer.write(&batch)?;
            }
            Err(error @ SqlError::TooManyRows { .. }) => {
                writer.finish()?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    writer.finish()?;
    Ok(rows)
}

/// Reads Arrow's IPC stream back, as its bytes arrive.
#[derive(Default)]
pub struct BatchReader {
    decoder: StreamDecoder,
}

impl BatchReader {
    /// The batches that end in the next bytes of the stream.
    ///
    /// # Errors
    /// That is no such stream.
    pub fn read(&mut self, bytes: Vec<u8>) -> Result<Vec<RecordBatch>, OutputError> {
        let mut buffer = Buffer::from_vec(bytes);
        let mut batches = Vec::new();
        while !buffer.is_empty() {
            batches.extend(self.decoder.decode(&mut buffer)?);
        }
        Ok(batches)
    }

    /// The columns, once they have arrived.
    #[must_use]
    pub fn schema(&self) -> Option<SchemaRef> {
        self.decoder.schema()
    }

    /// The bytes ended.
    ///
    /// # Errors
    /// They ended in the middle of a batch.
    pub fn finish(mut self) -> Result<(), OutputError> {
        Ok(self.decoder.finish()?)
    }
}

/// Writes batches of one schema.
pub struct BatchWriter<W: Write + Send> {
    schema: SchemaRef,
    kind: Kind<W>,
}

enum Kind<W: Write + Send> {
    Table(W, Vec<RecordBatch>),
    Csv(Box<csv::Writer<W>>),
    JsonLines(Box<JsonWriter<W, LineDelimited>>),
    Json(Box<JsonWriter<W, JsonArray>>),
    Arrow(Box<StreamWriter<W>>),
    Parquet(Box<ArrowWriter<W>>),
}

impl<W: Write + Send> BatchWriter<W> {
    /// A writer of batches of `schema`.
    ///
    /// # Errors
    /// The format cannot hold the schema, or the writer failed.
    pub fn new(format: Format, schema: SchemaRef, out: W) -> Result<Self, OutputError> {
        let json = WriterBuilder::new().with_explicit_nulls(true);
        let schema = if format == Format::Csv { flat(&schema) } else { schema };
        let kind = match format {
            Format::Table => Kind::Table(out, Vec::new()),
            Format::Csv => {
                let mut writer = csv::WriterBuilder::new().with_header(true).build(out);
                // A result without rows still has a header.
                writer.write(&RecordBatch::new_empty(Arc::clone(&schema)))?;
                Kind::Csv(Box::new(writer))
            }
            Format::JsonLines => Kind::JsonLines(Box::new(json.build(out))),
            Format::Json => Kind::Json(Box::new(json.build(out))),
            Format::Arrow => Kind::Arrow(Box::new(StreamWriter::try_new(out, &schema)?)),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                Kind::Parquet(Box::new(ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))?))
            }
        };
        Ok(Self { schema, kind })
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// The writer failed.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), OutputError> {
        match &mut self.kind {
            Kind::Table(_, batches) => batches.push(batch.clone()),
            Kind::Csv(writer) => writer.write(&flatten(batch, &self.schema)?)?,
            Kind::JsonLines(writer) => writer.write(batch)?,
            Kind::Json(writer) => writer.write(batch)?,
            Kind::Arrow(writer) => writer.write(batch)?,
            Kind::Parquet(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    /// Writes what belongs at the end.
    ///
    /// # Errors
    /// The writer failed.
    pub fn finish(self) -> Result<(), OutputError> {
        match self.kind {
            Kind::Table(mut out, mut batches) => {
                if batches.is_empty() {
                    batches.push(RecordBatch::new_empty(self.schema));
                }
                let options = FormatOptions::default().with_null("");
                writeln!(out, "{}", pretty_format_batches_with_options(&batches, &options)?)?;
                out.flush()?;
            }
            Kind::Csv(writer) => writer.into_inner().flush()?,
            Kind::JsonLines(mut writer) => {
                writer.finish()?;
                writer.into_inner().flush()?;
            }
            Kind::Json(mut writer) => {
                writer.finish()?;
                writer.into_inner().flush()?;
            }
            Kind::Arrow(mut writer) => writer.finish()?,
            Kind::Parquet(writer) => drop(writer.close()?),
        }
        Ok(())
    }
}

/// CSV knows no lists: they become text.
fn flat(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        if field.data_type().is_nested() {
            Arc::new(Field::new(field.name(), DataType::Utf8, true))
        } else {
            Arc::clone(field)
        }
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn flatten(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |column: &ArrayRef| -> Result<ArrayRef, ArrowError> {
        if !column.data_type().is_nested() {
            return Ok(Arc::clone(column));
        }
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        let text = |row| column.is_valid(row).then(|| formatter.value(row).to_string());
        Ok(Arc::new((0..column.len()).map(text).collect::<StringArray>()))
    };
    let columns = batch.columns().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

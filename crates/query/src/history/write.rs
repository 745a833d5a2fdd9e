//! Writes a sealed segment as Parquet, sorted by time, one file per hour.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::TimestampNanosecondType;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::history::HistoryError;
use crate::history::file::{HistoryFile, KEY};
use crate::scan::Gather;
use crate::schema;
use crate::segment::SealedSegment;
use crate::segment::block::Bounds;
use crate::segment::column::Rows;

/// What a file is called until it is whole.
pub(crate) const UNFINISHED: &str = "unfinished";
/// Rows of a row group: the unit in which a reader skips.
const ROW_GROUP_ROWS: usize = 16_384;
/// Seconds of an hour.
const HOUR: u64 = 3_600;
/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

pub(crate) fn write(folder: &Path, sealed: &SealedSegment) -> Result<Vec<HistoryFile>, HistoryError> {
    let rows = sorted(sealed)?;
    let ends = times(&rows, end_column(sealed));
    let mut files = Vec::new();
    let mut first = 0;
    while first < rows.num_rows() {
        let hour = ends[first] / SECOND / HOUR;
        let count = ends[first..].partition_point(|end| end / SECOND / HOUR == hour);
        let part = rows.slice(first, count);
        files.push(write_hour(folder, sealed, hour, &part)?);
        first += count;
    }
    Ok(files)
}

fn end_column(sealed: &SealedSegment) -> &'static str {
    if sealed.table.position("end_time").is_some() { "end_time" } else { "time" }
}

/// All rows of the segment by end.
fn sorted(sealed: &SealedSegment) -> Result<RecordBatch, HistoryError> {
    let schema = schema::recorded(sealed.table);
    let all = (0..sealed.table.columns.len()).collect();
    let mut gather = Gather::new(sealed.table, Arc::clone(&schema), all);
    for block in &sealed.view.segment.blocks {
        gather.take(block, &Rows::Run(0..block.rows()), sealed.view.shapes.as_ref());
    }
    let rows = concat_batches(&schema, &[gather.finish(sealed.view.shapes.as_ref())?.0])?;
    let end = rows.column_by_name(end_column(sealed)).cloned();
    let Some(end) = end else { return Ok(rows) };
    Ok(take_record_batch(&rows, &sort_to_indices(&end, None, None)?)?)
}

/// A column of times; an absent one is 0.
fn times(rows: &RecordBatch, column: &str) -> Vec<u64> {
    let Some(times) = rows.column_by_name(column) else { return vec![0; rows.num_rows()] };
    let times = times.as_primitive::<TimestampNanosecondType>();
    (0..times.len())
        .map(|row| if times.is_null(row) { 0 } else { times.value(row).cast_unsigned() })
        .collect()
}

fn write_hour(
    folder: &Path,
    sealed: &SealedSegment,
    hour: u64,
    rows: &RecordBatch,
) -> Result<HistoryFile, HistoryError> {
    let bounds = bounds(rows, end_column(sealed));
    let folder_of_hour = folder.join(sealed.table.name).join(format!("hour={}", hour_name(hour)));
    let name = format!("{}-{}-{}", bounds.end.0, bounds.end.1, sealed.view.segment.id);
    let (unfinished, path) =
        (folder_of_hour.join(format!("{name}.{UNFINISHED}")), folder_of_hour.join(format!("{name}.parquet")));
    let io = |source| HistoryError::Io { path: path.clone(), source };
    let parquet = |source| HistoryError::Parquet { path: path.clone(), source };
    fs::create_dir_all(&folder_of_hour).map_err(io)?;
    let out = File::create(&unfinished).map_err(io)?;
    let mut writer =
        ArrowWriter::try_new(out, rows.schema(), Some(properties(sealed, &bounds))).map_err(parquet)?;
    writer.write(rows).map_err(parquet)?;
    let out = writer.into_inner().map_err(parquet)?;
    out.sync_all().map_err(io)?;
    fs::rename(&unfinished, &path).map_err(io)?;
    let file = HistoryFile::open(folder, &path);
    let mut file = file.ok_or_else(|| HistoryError::NotOurs { path: path.clone() })?;
    file.origin = Some(sealed.view.segment.id);
    Ok(file)
}

fn properties(sealed: &SealedSegment, bounds: &Bounds) -> WriterProperties {
    let end = sealed.table.position(end_column(sealed)).and_then(|position| i32::try_from(position).ok());
    let sorting =
        end.map(|column_idx| vec![SortingColumn { column_idx, descending: false, nulls_first: true }]);
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_sorting_columns(sorting)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            KEY.to_owned(),
            HistoryFile::metadata(sealed.table.name, bounds),
        )]))
        .build()
}

fn bounds(rows: &RecordBatch, end: &str) -> Bounds {
    let span = |column: &str| {
        let times = times(rows, column);
        let (first, last) = (times.iter().min(), times.iter().max());
        (first.copied().unwrap_or(0), last.copied().unwrap_or(0))
    };
    Bounds { start: span("start_time"), end: span(end) }
}

/// `2026-11-26T13`, of hours since the epoch.
fn hour_name(hour: u64) -> String {
    let (days, hour) = (hour / 24, hour % 24);
    // Civil date of a day number, by eras of 400 years that begin on the first of March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_named_by_their_date() {
        assert_eq!(hour_name(0), "1970-01-01T00");
        assert_eq!(hour_name(1_767_225_600 / HOUR + 13), "2026-01-01T13");
        assert_eq!(hour_name(951_782_400 / HOUR), "2000-02-29T00");
    }
}

//! `percentile(value, q)`: a quantile from a histogram that merges, at most one eighth off.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::take_function_args;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;

use crate::functions::cells::{Floating, Whole};
use crate::functions::percentile_groups::{Groups, One};

/// The aggregate function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Percentile {
    signature: Signature,
}

impl Percentile {
    pub(crate) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// The quantile asked for: a literal from 0 to 1.
fn quantile(args: &AccumulatorArgs<'_>) -> Result<f64> {
    if args.is_distinct {
        return plan_err!("percentile does not know DISTINCT");
    }
    let literal = args.exprs.get(1).and_then(|expr| expr.downcast_ref::<Literal>());
    match literal.map(Literal::value) {
        Some(ScalarValue::Float64(Some(q))) if (0.0..=1.0).contains(q) => Ok(*q),
        _ => plan_err!(
            "the second argument of percentile is a number from 0 to 1, as in percentile(duration, 0.99)"
        ),
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        "percentile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, _] = take_function_args("percentile", types)?;
        let value = match value {
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => DataType::Int64,
            kind if kind.is_numeric() || kind.is_null() => DataType::Float64,
            kind => return plan_err!("percentile needs numbers, not {kind}"),
        };
        Ok(vec![value, DataType::Float64])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Float64))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[cells]", args.name), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let q = quantile(&args)?;
        Ok(match args.return_type() {
            DataType::Int64 => Box::new(One::<Whole>::new(q)),
            _ => Box::new(One::<Floating>::new(q)),
        })
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let q = quantile(&args)?;
        Ok(match args.return_type() {
            DataType::Int64 => Box::new(Groups::<Whole>::new(q)),
            _ => Box::new(Groups::<Floating>::new(q)),
        })
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        datafusion::logical_expr::utils::AggregateOrderSensitivity::Insensitive
    }
}

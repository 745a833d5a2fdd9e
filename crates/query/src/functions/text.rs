//! Functions of one text: `route(path)`, `workload(principal)`, `namespace(principal)`, `trust_domain(principal)`.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, UInt32Type};
use datafusion::common::utils::take_function_args;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use selvedge_decode::route_template;
use selvedge_learn::{principal_namespace, principal_service_account, trust_domain};

use crate::schema;

type Map = fn(&str) -> Option<Cow<'_, str>>;

/// A function from text to text. Of a dictionary it maps the entries, not the rows.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct OfText {
    name: &'static str,
    signature: Signature,
}

/// All of them.
pub(crate) fn all() -> Vec<OfText> {
    ["route", "workload", "namespace", "trust_domain"]
        .into_iter()
        .map(|name| OfText { name, signature: Signature::user_defined(Volatility::Immutable) })
        .collect()
}

impl OfText {
    fn map(&self) -> Map {
        match self.name {
            "route" => |path| Some(Cow::Owned(route_template(path))),
            "workload" => |principal| principal_service_account(principal).map(Cow::Borrowed),
            "namespace" => |principal| principal_namespace(principal).map(Cow::Borrowed),
            _ => |principal| trust_domain(principal).map(Cow::Borrowed),
        }
    }

    fn array(&self, array: &ArrayRef) -> Result<ArrayRef> {
        if let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() {
            let values = self.array(dictionary.values())?;
            return Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(dictionary.keys().clone(), values)?));
        }
        let map = self.map();
        let texts = array
            .as_string_opt::<i32>()
            .ok_or_else(|| DataFusionError::Internal(format!("{} got {}", self.name, array.data_type())))?;
        Ok(Arc::new(texts.iter().map(|text| text.and_then(map)).collect::<StringArray>()))
    }
}

impl ScalarUDFImpl for OfText {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [kind] = take_function_args(self.name, types)?;
        Ok(vec![if *kind == schema::dictionary() { schema::dictionary() } else { DataType::Utf8 }])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [kind] = take_function_args(self.name, types)?;
        Ok(kind.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [argument] = take_function_args(self.name, args.args)?;
        match argument {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(self.array(&array)?)),
            ColumnarValue::Scalar(scalar) => {
                let kind = scalar.data_type();
                let text = cast(&scalar.to_array()?, &DataType::Utf8)?;
                let mapped = cast(&self.array(&text)?, &kind)?;
                Ok(ColumnarValue::Scalar(datafusion::scalar::ScalarValue::try_from_array(&mapped, 0)?))
            }
        }
    }
}

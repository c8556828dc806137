use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType};
use parquet::data_type::Decimal;
use parquet::record::Field;
use parquet::schema::types::Type;

use crate::error::Error;
use crate::sources::parquet::table::ParquetTable;
use crate::sources::rows::at::At;
use crate::sources::rows::value::Value;

/// Gives each row of a parquet file to a function.
pub(crate) fn for_each_row(
    path: &Path,
    table: &ParquetTable,
    mut use_row: impl FnMut(At<'_>, Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let schema = table.schema();
    let mut number = 0;
    for group in 0..table.groups() {
        table.for_each_row(group, |fields| {
            let at = At::row(path, number);
            number += 1;
            let mut row = Vec::with_capacity(fields.len());
            for (name, field) in fields {
                let of = child(&schema, name);
                let value = value(field, of).map_err(|message| at.error(name, message))?;
                row.push((name.clone(), value));
            }
            use_row(at, Value::Object(row))
        })?;
    }
    Ok(())
}

fn child<'t>(of: &'t Type, name: &str) -> Option<&'t Type> {
    let fields = of.is_group().then(|| of.get_fields())?;
    fields
        .iter()
        .find(|field| field.name() == name)
        .map(|field| &**field)
}

/// The type of a list's members.
fn member(of: &Type) -> Option<&Type> {
    let repeated = of.is_group().then(|| of.get_fields())?.first()?;
    match repeated.is_group() && repeated.get_fields().len() == 1 {
        true => repeated.get_fields().first().map(|field| &**field),
        false => Some(repeated),
    }
}

fn is_json(of: &Type) -> bool {
    let info = of.get_basic_info();
    info.logical_type_ref() == Some(&LogicalType::Json)
        || info.converted_type() == ConvertedType::JSON
}

fn value(field: &Field, of: Option<&Type>) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::Bool(*value),
        Field::Str(text) => match of.is_some_and(is_json) {
            true => {
                Value::of_json(text.as_bytes()).map_err(|error| format!("is not JSON: {error}"))?
            }
            false => Value::Text(text.clone()),
        },
        Field::Bytes(bytes) => Value::Bytes(bytes.data().to_vec()),
        // The shortest digits that mean the number, and `1.0` for a whole one.
        Field::Float(value) => Value::Number(format!("{value:?}")),
        Field::Double(value) => Value::Number(format!("{value:?}")),
        Field::Decimal(Decimal::Bytes { .. }) => {
            return Err("is a decimal, which is not read".into());
        }
        Field::Group(row) => {
            let mut fields = Vec::new();
            for (name, field) in row.get_column_iter() {
                let of = of.and_then(|of| child(of, name));
                fields.push((name.clone(), value(field, of)?));
            }
            Value::Object(fields)
        }
        Field::ListInternal(list) => {
            let of = of.and_then(member);
            let members = list.elements().iter().map(|field| value(field, of));
            Value::List(members.collect::<Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let mut fields = Vec::new();
            for (name, field) in map.entries() {
                let name = value(name, None)?.text().unwrap_or_default();
                fields.push((name, value(field, None)?));
            }
            Value::Object(fields)
        }
        other => Value::Number(other.to_string()),
    })
}

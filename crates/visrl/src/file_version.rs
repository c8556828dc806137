//! The version of visrl that wrote a run file.

use visrl_core::warn_once;

use crate::error::Error;

/// The version that is running.
const HERE: &str = env!("CARGO_PKG_VERSION");

/// Tells, with the name of the `file`, where one was written by another version than this one.
///
/// # Errors
/// [`Error::Setting`] for what is no version.
pub(crate) fn check_version(version: Option<&str>, file: Option<&str>) -> Result<(), Error> {
    let Some(found) = version.filter(|found| *found != HERE) else {
        return Ok(());
    };
    let file = file.map_or(String::new(), |file| format!("{file}: "));
    match numbers(found) {
        None => {
            let message = format!("is `{found}`, expected three numbers such as {HERE}");
            Err(Error::setting("version", message))
        }
        Some(other) if Some(other) > numbers(HERE) => {
            warn_once(format!(
                "{file}`version` is {found}, that of a later visrl than this one, {HERE}: settings \
                 and numbers may mean something else there"
            ));
            Ok(())
        }
        Some(_) => {
            warn_once(format!(
                "{file}`version` is {found}, that of an earlier visrl than this one, {HERE}, whose \
                 numbers may differ"
            ));
            Ok(())
        }
    }
}

/// Major, minor and patch; what follows a `-` or a `+` is left out.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let plain = version.split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(|part| part.parse().ok());
    let found = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_in_order() {
        assert!(numbers("0.2.0") > numbers(HERE) && numbers("0.0.9") < numbers(HERE));
        assert_eq!(numbers("1.2.3-rc.1+x"), Some([1, 2, 3]));
        for bad in ["", "1", "1.2", "1.2.3.4", "a.b.c", "v1.2.3"] {
            let error = check_version(Some(bad), None).unwrap_err().to_string();
            assert!(error.starts_with("`version` is "), "{error}");
        }
        for good in [None, Some(HERE), Some("9.9.9"), Some("0.0.1")] {
            assert!(check_version(good, Some("run.toml")).is_ok());
        }
    }
}

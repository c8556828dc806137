//! How flags are read.

use clap::Parser;

/// The flags; what is wrong with them gives exit code 1, as any bad input, and help gives 0.
pub fn parse<T: Parser>() -> T {
    T::try_parse().unwrap_or_else(|error| {
        // Nobody is left to tell when standard error is closed.
        let _ = error.print();
        std::process::exit(i32::from(error.use_stderr()))
    })
}

/// Checks that a flag's list has no name twice, and none that is empty.
pub fn unique<T: PartialEq + ToString>(flag: &str, values: &[T]) -> Result<(), String> {
    for (place, value) in values.iter().enumerate() {
        let text = value.to_string();
        if text.trim().is_empty() {
            return Err(format!("{flag}: holds an empty name"));
        }
        if values[..place].contains(value) {
            return Err(format!("{flag}: holds `{text}` twice"));
        }
    }
    Ok(())
}

/// Checks that a folder that a flag names can be filled: it is not there, or empty.
pub fn empty_folder(flag: &str, folder: &std::path::Path) -> Result<(), String> {
    let is_empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    match folder.symlink_metadata().is_ok() && !is_empty {
        true => Err(format!(
            "{flag}: {} is there and is no empty folder",
            folder.display()
        )),
        false => Ok(()),
    }
}

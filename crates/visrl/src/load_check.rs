//! What is wrong with the options of loading, by their names in a run file.

use crate::error::Error;

const FIELDS: [&str; 5] = [
    "pipeline",
    "min_pixels",
    "max_pixels",
    "max_prompt_tokens",
    "limits",
];

/// The error of loading a checkpoint: that of an option by its full name, any other as it is.
pub(crate) fn of_load(error: visrl_vlm::Error) -> Error {
    of_option("model.load", error)
}

/// As [`of_load`], of options that stand in the table `name`.
pub(crate) fn of_option(name: &str, error: visrl_vlm::Error) -> Error {
    let message = match &error {
        visrl_vlm::Error::Image(visrl_image::Error::Input(message))
        | visrl_vlm::Error::Input(message) => message.as_str(),
        _ => return error.into(),
    };
    let rest = message.strip_prefix("processor: ").unwrap_or(message);
    let fault = rest
        .strip_prefix('`')
        .and_then(|rest| rest.split_once("` "));
    match fault {
        Some((field, fault)) if FIELDS.contains(&field) => {
            Error::setting(format!("{name}.{field}"), fault)
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_named_in_full() {
        let input = |text: &str| visrl_vlm::Error::Input(text.into());
        let image = |text: &str| visrl_vlm::Error::Image(visrl_image::Error::Input(text.into()));
        for (error, expected) in [
            (
                image("processor: `max_pixels` is 1, less than min_pixels 2; set both"),
                "`model.load.max_pixels` is 1, less than min_pixels 2; set both",
            ),
            (
                input("`max_prompt_tokens` is 0, expected at least 1"),
                "`model.load.max_prompt_tokens` is 0, expected at least 1",
            ),
            (input("`x` is 0"), "`x` is 0"),
        ] {
            assert_eq!(of_load(error).to_string(), expected);
        }
    }
}

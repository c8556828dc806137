use crate::sources::rows::marks::Piece;

/// How the paper's data begin a list of choices that stands in a question.
const START: &str = "Please choose one from list [";

/// Takes the list of choices off the end of a question, where it has one; a template asks it again.
pub(crate) fn take_list(pieces: &mut [Piece]) -> Option<Vec<String>> {
    let Some(Piece::Text(text)) = pieces.last_mut() else {
        return None;
    };
    let (question, list) = text.trim_end().rsplit_once(START)?;
    let list = list.strip_suffix('.').unwrap_or(list).strip_suffix(']')?;
    let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return None;
    }
    *text = question.trim_end().to_owned();
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_off_the_end() {
        let take = |text: &str| {
            let mut pieces = [Piece::Text(text.into())];
            let names = take_list(&mut pieces);
            let [Piece::Text(text)] = pieces else {
                panic!()
            };
            (text, names.map(|names| names.join("|")))
        };
        let list = Some("a b|c".to_owned());
        let asked = "Which?".to_owned();
        for end in ["\nPlease", " Please"] {
            let text = format!("Which?{end} choose one from list [ a b, c].");
            assert_eq!(take(&text), (asked.clone(), list.clone()));
        }
        for text in ["Which?", "Please choose one from list [ a, b]. Be brief."] {
            assert_eq!(take(text), (text.to_owned(), None));
        }
    }
}

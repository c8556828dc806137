//! The texts and images of a user's turn.

use visrl_core::Content;

/// A question without blanks at its end and, where nothing of the row stands before it, at its
/// start.
pub(crate) fn trimmed(parts: &[Content], at_start: bool) -> Vec<Content> {
    let mut parts = parts.to_vec();
    if let (Some(Content::Text(text)), true) = (parts.first_mut(), at_start) {
        *text = text.trim_start().to_owned();
    }
    if let Some(Content::Text(text)) = parts.last_mut() {
        text.truncate(text.trim_end().len());
    }
    parts.retain(|part| !matches!(part, Content::Text(text) if text.is_empty()));
    parts
}

/// Adds a part; texts that meet become one.
pub(crate) fn append(parts: &mut Vec<Content>, part: Content) {
    match (parts.last_mut(), part) {
        (Some(Content::Text(text)), Content::Text(more)) => text.push_str(&more),
        (_, part) => parts.push(part),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use visrl_core::{Example, ImageSource, Layout};

    use super::*;
    use crate::prompt::template::PromptTemplate;

    fn example(choices: &[&str]) -> Example {
        Example {
            id: "7".into(),
            image: ImageSource::path("7.png"),
            question: "What type of object is in the photo?".into(),
            choices: choices.iter().map(|&name| name.into()).collect(),
            label: "b".into(),
            row: Default::default(),
        }
    }

    #[test]
    fn images_stand_where_a_question_has_them() {
        let image = |name: &str| Content::Image(ImageSource::path(name));
        let text = |text: &str| Content::Text(text.into());
        let rendered = |template: &PromptTemplate, parts: Vec<Content>, choices: &[&str]| {
            let mut example = example(choices);
            let system = Some("Be brief.".into());
            example.row.layout = Some(Arc::new(Layout { parts, system }));
            let mut messages = template.render(&example).messages;
            assert_eq!(messages[0].content, [text("Be brief.")]);
            messages.remove(1).content
        };
        let template = PromptTemplate::new("Q: {question} of {choices}.", "{question}").unwrap();
        let template = template.with_system("Be short.");
        let within = vec![
            text(" Is "),
            image("1"),
            text(" as "),
            image("2"),
            text("?\n"),
        ];
        assert_eq!(
            rendered(&template, within.clone(), &["a", "b"]),
            [
                text("Q: Is "),
                image("1"),
                text(" as "),
                image("2"),
                text("? of a, b.")
            ]
        );
        let front = vec![image("1"), image("2"), text("\nWhich?")];
        let both = [image("1"), image("2")];
        let asked = rendered(&template, front.clone(), &["a"]);
        assert_eq!(asked, [&both[..], &[text("Q: Which? of a.")]].concat());
        let last = rendered(&template.clone().with_text_first(), front, &[]);
        assert_eq!(last, [&[text("Which?")], &both[..]].concat());
        // Two images and no words: the data set's question.
        let asked = rendered(&template, both.to_vec(), &[]);
        let question = "What type of object is in the photo?";
        assert_eq!(asked, [&both[..], &[text(question)]].concat());
        assert_eq!(rendered(&template, vec![], &[])[1], text(question));
    }
}

//! From a prompt and the grids of its images to token ids.

use visrl_core::{Content, Prompt};

use visrl_image::image_tokens;

use super::template::ChatTemplate;
use crate::encoder::tokenizer::byte_level::Tokenizer;
use crate::encoder::tokenizer::special_tokens::{TURN_TOKENS, VIDEO_PAD, VISION_TOKENS};
use crate::error::Error;

/// A prompt as a model takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPrompt {
    /// Token ids; an image is as many image tokens as it has visual tokens.
    pub ids: Vec<u32>,
    /// Time, height and width in patches of each image, in the order of the prompt.
    pub grids: Vec<[usize; 3]>,
}

impl ChatTemplate {
    /// Encodes a prompt, up to where the assistant begins, whose images have these grids (time,
    /// height and width in patches, in the order of the images) for a model that makes one visual
    /// token of `merge_size` x `merge_size` patches.
    ///
    /// A prompt of more than `max_tokens` tokens, image tokens included, is refused: cutting it
    /// could cut an image.
    ///
    /// # Errors
    /// [`Error::Prompt`] with the prompt's id when grids and images differ in number, a grid is no
    /// whole number of visual tokens, a text holds a token of pictures or turns, or the prompt is too long;
    /// [`Error::Template`] when the template refuses the conversation.
    pub fn encode_prompt(
        &self,
        prompt: &Prompt,
        grids: &[[usize; 3]],
        tokenizer: &Tokenizer,
        merge_size: usize,
        max_tokens: usize,
    ) -> Result<EncodedPrompt, Error> {
        let fail = |message: String| Error::Prompt {
            id: prompt.id.clone(),
            message,
        };
        refuse_chat_tokens(prompt).map_err(fail)?;
        let images = prompt.images().count();
        if images != grids.len() {
            return Err(fail(format!(
                "has {images} images, but {} grids are given",
                grids.len()
            )));
        }
        let counts = grids
            .iter()
            .map(|&grid| count(grid, merge_size))
            .collect::<Result<Vec<_>, _>>();
        let counts = counts.map_err(fail)?;

        let text = self.render(&prompt.messages, true, self.numbers_images())?;
        let text_ids = tokenizer.encode(&text)?;
        let image_pad = tokenizer.image_pad_id();
        let placeholders = text_ids.iter().filter(|&&id| id == image_pad).count();
        if placeholders != images {
            return Err(fail(format!(
                "has {images} images, but its text has {placeholders} image tokens after the chat \
                 template of {}",
                self.path().display()
            )));
        }
        if let Some(video_pad) = tokenizer.token_id(VIDEO_PAD)
            && text_ids.contains(&video_pad)
        {
            return Err(fail("has a video token after the chat template".into()));
        }
        let texts = text_ids.len() - images;
        let total = counts
            .iter()
            .try_fold(texts, |sum, &count| sum.checked_add(count));
        let Some(total) = total.filter(|&total| total <= max_tokens) else {
            return Err(fail(format!(
                "has {texts} text tokens and images of {counts:?} tokens, more than the limit of \
                 {max_tokens}; shorten it, raise `max_prompt_tokens` or lower `max_pixels` of the \
                 model's load options (prompts are never cut)"
            )));
        };

        let mut ids = Vec::with_capacity(total);
        let mut counts = counts.into_iter();
        for id in text_ids {
            let copies = if id == image_pad {
                counts.next().unwrap_or(0)
            } else {
                1
            };
            ids.extend(std::iter::repeat_n(id, copies));
        }
        Ok(EncodedPrompt {
            ids,
            grids: grids.to_vec(),
        })
    }
}

/// The number of visual tokens of a grid.
fn count(grid: [usize; 3], merge: usize) -> Result<usize, String> {
    let [_, height, width] = grid;
    let whole = merge > 0 && height.is_multiple_of(merge) && width.is_multiple_of(merge);
    let patches = grid
        .iter()
        .try_fold(1usize, |product, &side| product.checked_mul(side));
    match patches {
        Some(1..) if whole => Ok(image_tokens(grid, merge)),
        _ => Err(format!(
            "has an image with the grid {grid:?}: expected patches, and sides that are multiples \
             of {merge}"
        )),
    }
}

fn refuse_chat_tokens(prompt: &Prompt) -> Result<(), String> {
    for part in prompt.messages.iter().flat_map(|message| &message.content) {
        let Content::Text(text) = part else { continue };
        for (tokens, meaning) in [
            (&VISION_TOKENS[..], "an image"),
            (&TURN_TOKENS[..], "the end of a turn"),
        ] {
            if let Some(token) = tokens.iter().find(|token| text.contains(*token)) {
                return Err(format!(
                    "has {token} in its text, which would be taken for {meaning}; remove it from the \
                     data"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use visrl_core::{ImageSource, Message, Role};

    use super::*;
    use crate::encoder::chat::template::QWEN2_VL_CHAT_TEMPLATE;
    use crate::encoder::tokenizer::special_tokens::IMAGE_PAD;
    use crate::encoder::tokenizer::train_bpe::train_bpe;

    struct Parts {
        template: ChatTemplate,
        tokenizer: Tokenizer,
    }

    impl Parts {
        fn new() -> Self {
            Self {
                template: ChatTemplate::new(QWEN2_VL_CHAT_TEMPLATE).unwrap(),
                tokenizer: Tokenizer::from_json(&train_bpe(["a b"], 300).unwrap()).unwrap(),
            }
        }

        fn encode(
            &self,
            content: Vec<Content>,
            grids: &[[usize; 3]],
            most: usize,
        ) -> Result<EncodedPrompt, Error> {
            let messages = vec![Message {
                role: Role::User,
                content,
            }];
            let prompt = Prompt {
                id: "p7".into(),
                messages,
            };
            self.template
                .encode_prompt(&prompt, grids, &self.tokenizer, 2, most)
        }
    }

    fn image() -> Content {
        Content::Image(ImageSource::path("x.png"))
    }

    fn text(text: &str) -> Content {
        Content::Text(text.into())
    }

    #[test]
    fn images_take_exactly_their_tokens() {
        let parts = Parts::new();
        let grids = [[1, 4, 6], [1, 2, 2]];
        let encoded = parts
            .encode(vec![image(), text("a"), image()], &grids, 1024)
            .unwrap();
        assert_eq!(encoded.grids, grids);
        let pad = parts.tokenizer.token_id(IMAGE_PAD).unwrap();
        let runs = encoded
            .ids
            .chunk_by(|a, b| a == b)
            .filter(|run| run[0] == pad);
        assert_eq!(runs.map(<[_]>::len).collect::<Vec<_>>(), [6, 1]);
    }

    #[test]
    fn images_are_numbered_on_request() {
        let mut parts = Parts::new();
        let plain = parts.encode(vec![image()], &[[1, 2, 2]], 1024).unwrap();
        parts.template = parts.template.with_numbered_images(true);
        let numbered = parts.encode(vec![image()], &[[1, 2, 2]], 1024).unwrap();
        assert!(
            parts
                .tokenizer
                .decode(&numbered.ids, false)
                .contains("Picture 1: <|vision_start|>")
        );
        assert!(numbered.ids.len() > plain.ids.len());
    }

    #[test]
    fn long_prompts_are_refused_whole() {
        let parts = Parts::new();
        let encode = |grid, most| parts.encode(vec![image(), text("a")], &[grid], most);
        let length = encode([1, 4, 4], 1024).unwrap().ids.len();
        assert!(encode([1, 4, 4], length).is_ok());
        let message = encode([1, 4, 4], length - 1).unwrap_err().to_string();
        assert!(
            message.starts_with("prompt p7: ") && message.contains("never cut"),
            "{message}"
        );
        assert!(encode([1, 1 << 40, 1 << 40], 1024).is_err());
        assert!(encode([1, 1 << 20, 1 << 20], 1024).is_err());
    }

    #[test]
    fn features_and_tokens_cannot_misalign() {
        let parts = Parts::new();
        let refused = |content: Vec<Content>, grids: &[[usize; 3]]| {
            parts.encode(content, grids, 1024).unwrap_err().to_string()
        };
        for token in VISION_TOKENS.into_iter().chain(TURN_TOKENS) {
            let message = refused(vec![image(), text(&format!("say {token}"))], &[[1, 2, 2]]);
            assert!(message.contains("remove it"), "{message}");
        }
        // A token that two texts make together.
        let halves = vec![text("<|image"), text("_pad|>")];
        assert!(refused(halves, &[]).contains("1 image tokens"));
        let halves = vec![text("<|video"), text("_pad|>")];
        assert!(refused(halves, &[]).contains("video"));
        assert!(refused(vec![image()], &[]).contains("has 1 images, but 0 grids"));
        for grid in [[1, 3, 2], [0, 2, 2], [1, 0, 0]] {
            assert!(refused(vec![image()], &[grid]).contains("multiples of 2"));
        }
    }
}

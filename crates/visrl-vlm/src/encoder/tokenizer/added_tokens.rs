//! Tokens that stand beside `tokenizer.json`: in `tokenizer_config.json`, `added_tokens.json` and
//! `special_tokens_map.json`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer};
use visrl_core::files::FileError;

use crate::error::Error;

/// The largest id of a token: real vocabularies have some hundred thousand.
const MAX_ID: u32 = 1 << 22;

/// A file beside `tokenizer.json`, and its content.
pub(super) type Beside<'a> = (&'a Path, &'a Value);

/// The files that may name tokens; null where one is not there.
pub(super) struct Files<'a> {
    pub(super) config: Beside<'a>,
    pub(super) added: Beside<'a>,
    pub(super) special_map: Beside<'a>,
}

/// A token with the id that a file gives it, and where the file does.
struct Given<'a> {
    token: AddedToken,
    id: u32,
    path: &'a Path,
    field: String,
    /// Whether the file knows the token's properties, too.
    is_exact: bool,
}

/// Adds to a tokenizer, read from `json`, the tokens that it lacks, with their ids: those of
/// `added_tokens_decoder` and of `added_tokens.json`, and after them the special tokens that have a
/// name alone, as transformers does.
///
/// # Errors
/// [`Error::File`] with the file and the field: an id that another token has, a token that has
/// another id, or a field of the wrong form.
pub(super) fn add(
    mut tokenizer: Tokenizer,
    json: &[u8],
    files: &Files<'_>,
) -> Result<Tokenizer, Error> {
    let special = special_names(files)?;
    let mut given = of_config(files.config)?;
    given.extend(of_file(files.added, &special)?);
    given.sort_by_key(|given| given.id);
    check(&tokenizer, &given)?;

    let lacking = |given: &&Given<'_>| tokenizer.token_to_id(&given.token.content).is_none();
    let new: Vec<_> = given.iter().filter(lacking).collect();
    if let Some(first) = new.first() {
        let fail = |message: String| Error::field(first.path, &first.field, message);
        tokenizer = with_vocabulary(&tokenizer, json, &new).map_err(fail)?;
    }
    let known = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    let changed = |given: &&Given<'_>| given.is_exact || !known.contains_key(&given.id);
    let changed: Vec<_> = given.iter().filter(changed).collect();
    if let Some(first) = changed.first() {
        let fail =
            |error: tokenizers::Error| Error::field(first.path, &first.field, error.to_string());
        let tokens: Vec<_> = changed.iter().map(|given| given.token.clone()).collect();
        tokenizer.add_tokens(tokens).map_err(fail)?;
    }
    for (name, (path, field)) in special {
        let known = tokenizer.get_added_vocabulary().get_vocab();
        if !known.contains_key(&name) {
            let fail = |error: tokenizers::Error| Error::field(path, &field, error.to_string());
            tokenizer
                .add_special_tokens([AddedToken::from(name, true)])
                .map_err(fail)?;
        }
    }
    Ok(tokenizer)
}

/// Refuses ids that are not a token's own.
fn check(tokenizer: &Tokenizer, given: &[Given<'_>]) -> Result<(), Error> {
    let mut by_name: HashMap<&str, u32> = HashMap::new();
    let mut by_id: HashMap<u32, &str> = HashMap::new();
    for Given {
        token,
        id,
        path,
        field,
        ..
    } in given
    {
        let name = token.content.as_str();
        let fail = |message: String| Err(Error::field(path, field, message));
        if name.is_empty() {
            return fail("is a token without a text".into());
        }
        if *id > MAX_ID {
            return fail(format!(
                "is {id}, beyond the {MAX_ID} that a vocabulary may have"
            ));
        }
        let known = tokenizer.token_to_id(name);
        if let Some(known) = known
            .or_else(|| by_name.get(name).copied())
            .filter(|known| known != id)
        {
            return fail(format!("gives `{name}` the id {id}, but it has {known}"));
        }
        let taken = tokenizer.id_to_token(*id);
        let taken = taken.as_deref().or_else(|| by_id.get(id).copied());
        if let Some(taken) = taken.filter(|taken| *taken != name) {
            return fail(format!("gives `{name}` the id {id}, which `{taken}` has"));
        }
        by_name.insert(name, *id);
        by_id.insert(*id, name);
    }
    Ok(())
}

/// The tokenizer, read from `json`, with more tokens in its model's vocabulary, which may leave ids
/// between them free. Those that were added before go there, too: otherwise they would be counted
/// from the vocabulary's new size.
fn with_vocabulary(
    tokenizer: &Tokenizer,
    json: &[u8],
    new: &[&Given<'_>],
) -> Result<Tokenizer, String> {
    let mut root: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let vocab = root
        .pointer_mut("/model/vocab")
        .and_then(Value::as_object_mut);
    let vocab = vocab.ok_or("cannot be added: tokenizer.json has no `model.vocab`")?;
    let before = tokenizer.get_added_vocabulary().get_vocab();
    let before = before.iter().map(|(token, id)| (token, *id));
    for (token, id) in before.chain(new.iter().map(|given| (&given.token.content, given.id))) {
        vocab.insert(token.clone(), id.into());
    }
    let json = serde_json::to_vec(&root).map_err(|error| error.to_string())?;
    Tokenizer::from_bytes(json).map_err(|error| format!("cannot be added: {error}"))
}

/// `added_tokens_decoder` of `tokenizer_config.json`: tokens with their properties, by id.
fn of_config((path, config): Beside<'_>) -> Result<Vec<Given<'_>>, Error> {
    const FIELD: &str = "added_tokens_decoder";
    let mut out = Vec::new();
    for (id, value) in object(path, FIELD, config.get(FIELD))? {
        let field = format!("{FIELD}.{id}");
        let fail = |message: &str| Error::field(path, &field, message);
        let id = id.parse().map_err(|_| fail("is not named by an id"))?;
        let content = text(value).ok_or_else(|| fail("expected an object with `content`"))?;
        let set = |name: &str| value.get(name).and_then(Value::as_bool);
        let plain = AddedToken::from(content, set("special").unwrap_or(false));
        let token = AddedToken {
            single_word: set("single_word").unwrap_or(false),
            lstrip: set("lstrip").unwrap_or(false),
            rstrip: set("rstrip").unwrap_or(false),
            normalized: set("normalized").unwrap_or(plain.normalized),
            ..plain
        };
        out.push(Given {
            token,
            id,
            path,
            field,
            is_exact: value.is_object(),
        });
    }
    Ok(out)
}

/// `added_tokens.json`: ids by token.
fn of_file<'a>((path, added): Beside<'a>, special: &Special<'_>) -> Result<Vec<Given<'a>>, Error> {
    let mut out = Vec::new();
    for (name, id) in object(path, "", Some(added))? {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| Error::field(path, name, "expected an id"))?;
        let is_special = special.iter().any(|(other, _)| other == name);
        out.push(Given {
            token: AddedToken::from(name.as_str(), is_special),
            id,
            path,
            field: name.clone(),
            is_exact: false,
        });
    }
    Ok(out)
}

/// Special tokens by their names, each with where it stands.
type Special<'a> = Vec<(String, (&'a Path, String))>;

/// The tokens that are special by a list of names. Those with a role of their own (`eos_token`) must
/// be in the vocabulary and are looked up there.
fn special_names<'a>(files: &Files<'a>) -> Result<Special<'a>, Error> {
    let mut out: Special<'a> = Vec::new();
    for (path, value) in [files.config, files.special_map] {
        for field in ["additional_special_tokens", "extra_special_tokens"] {
            let tokens: Vec<&Value> = match value.get(field) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(list)) => list.iter().collect(),
                // Newer files: by a name of the token's role.
                Some(Value::Object(map)) => map.values().collect(),
                Some(_) => return Err(Error::field(path, field, "expected a list of tokens")),
            };
            for token in tokens {
                let name = text(token).filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| Error::field(path, field, "holds no token"))?;
                if !out.iter().any(|(other, _)| other == name) {
                    out.push((name.to_owned(), (path, field.to_owned())));
                }
            }
        }
    }
    Ok(out)
}

/// A token's text: a string, or `content` of an object.
fn text(value: &Value) -> Option<&str> {
    value.get("content").unwrap_or(value).as_str()
}

/// An object of a file; an empty one where it is missing or null.
fn object<'a>(
    path: &Path,
    field: &str,
    value: Option<&'a Value>,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, Error> {
    let map: Option<&Map<String, Value>> = match value {
        None | Some(Value::Null) => None,
        Some(Value::Object(map)) => Some(map),
        Some(_) => {
            let message = "expected an object with tokens";
            return Err(FileError::field(path, field, message).into());
        }
    };
    Ok(map.into_iter().flatten())
}

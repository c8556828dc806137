//! Flags within an expression: `(?i)` for all of it, `(?i:...)` for a part.

/// The flags that a part is read by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// `i`: letters of either case.
    pub(super) ignore_case: bool,
    /// `m`: `^` and `$` mean lines.
    pub(super) lines: bool,
    /// `s`: `.` means line breaks, too.
    pub(super) dot_all: bool,
    /// `x`: blanks and remarks are left out.
    pub(super) verbose: bool,
    /// `a`: `\d`, `\s` and `\w` mean ASCII.
    pub(super) ascii: bool,
}

/// Flags as they are written, those that are switched on and those that are switched off.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Switches {
    pub(super) on: String,
    pub(super) off: String,
}

impl Switches {
    /// Reads the letters between `(?` and what ends them; `of_group` when that is a colon.
    ///
    /// # Errors
    /// What Python would not take.
    pub(super) fn read(letters: &str, of_group: bool) -> Result<Self, String> {
        let (on, off) = match letters.split_once('-') {
            Some((on, off)) => (on, Some(off)),
            None => (letters, None),
        };
        let unknown = |letters: &str, known: &str| letters.chars().find(|x| !known.contains(*x));
        if let Some(letter) = unknown(on, "aimsux") {
            return Err(format!("has the flag `{letter}`, which text has not"));
        }
        if on.contains('a') && on.contains('u') {
            return Err("has the flags `a` and `u`, which exclude each other".into());
        }
        match off {
            None => {}
            Some(_) if !of_group => return Err("switches flags off without a `:`".into()),
            Some("") => return Err("has no flag after `-`".into()),
            Some(off) => {
                if let Some(letter) = unknown(off, "imsx") {
                    return Err(format!("switches off `{letter}`, which cannot be"));
                }
                if off.chars().any(|letter| on.contains(letter)) {
                    return Err("switches a flag on and off".into());
                }
            }
        }
        Ok(Self {
            on: on.to_owned(),
            off: off.unwrap_or_default().to_owned(),
        })
    }

    /// These flags with what is switched.
    pub(super) fn switch(&self, mut flags: Flags) -> Flags {
        for (letters, value) in [(&self.on, true), (&self.off, false)] {
            for letter in letters.chars() {
                match letter {
                    'i' => flags.ignore_case = value,
                    'm' => flags.lines = value,
                    's' => flags.dot_all = value,
                    'x' => flags.verbose = value,
                    'a' => flags.ascii = value,
                    _ => flags.ascii = false,
                }
            }
        }
        flags
    }
}

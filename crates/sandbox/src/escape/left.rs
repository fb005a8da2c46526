//! What a program left behind on a terminal: modes, margins, character sets and colours under which whatever is
//! written next could not be seen or read. A session's report is written next, so the agent must not decide how
//! it looks; and a person whose editor was killed has a working prompt.
//!
//! Only what was changed is changed back: several of these sequences move the cursor or clear the screen where
//! they do not apply. Source: XTerm Control Sequences (invisible-island.net/xterm/ctlseqs).

use std::collections::BTreeSet;

/// Private modes that are on where nobody changed them: wrapping, repeating keys, the cursor.
const ON_AT_FIRST: &[u32] = &[7, 8, 25];
/// Modes of ANSI that are so: no local echo.
const ANSI_ON_AT_FIRST: &[u32] = &[12];
/// Modes that are remembered; a program that sets more leaves the terminal as it wants.
const MOST: usize = 64;

/// The state that differs from a terminal's own.
#[derive(Debug, Default)]
pub(super) struct Left {
    private: BTreeSet<u32>,
    ansi: BTreeSet<u32>,
    margins: bool,
    keypad: bool,
    keys: bool,
    other_keys: bool,
    colours: bool,
    anything: bool,
}

impl Left {
    /// A whole sequence that passed to the terminal, from its ESC on, strings without their end.
    pub(super) fn note(&mut self, sequence: &[u8]) {
        self.anything = true;
        match sequence {
            [_, b'[', body @ .., last] => self.note_control(body, *last),
            [_, b']', body @ ..] => {
                let number = body.split(|&byte| byte == b';').next().unwrap_or_default();
                self.colours |= matches!(
                    std::str::from_utf8(number).map(str::parse::<u32>),
                    Ok(Ok(4 | 5 | 10..=19))
                ) && !body.ends_with(b"?");
            }
            [_, b'='] => self.keypad = true,
            [_, b'>'] => self.keypad = false,
            [_, b'c'] => *self = Self::default(),
            _ => {}
        }
    }

    fn note_control(&mut self, body: &[u8], last: u8) {
        let private = body.first() == Some(&b'?');
        let numbers = body
            .strip_prefix(b"?")
            .unwrap_or(body)
            .split(|&byte| byte == b';')
            .filter_map(|number| std::str::from_utf8(number).ok()?.parse::<u32>().ok());
        match (last, body) {
            // What was saved before may be either way.
            (b'h' | b'l' | b'r', _) if private => {
                for mode in numbers {
                    let own = ON_AT_FIRST.contains(&mode) == (last == b'h');
                    put(&mut self.private, mode, !own || last == b'r');
                }
            }
            (b'h' | b'l', _) => {
                for mode in numbers {
                    let own = ANSI_ON_AT_FIRST.contains(&mode) == (last == b'h');
                    put(&mut self.ansi, mode, !own);
                }
            }
            (b'r', _) => self.margins = true,
            (b'u', [b'>' | b'=', ..]) => self.keys = true,
            (b'm', [b'>', ..]) => self.other_keys = true,
            // Colours that were pushed come back.
            (b'Q', [.., b'#']) => self.colours = true,
            _ => {}
        }
    }

    /// What makes the terminal its own again; nothing where no sequence passed.
    pub(super) fn undone(&self) -> Vec<u8> {
        let mut text = String::new();
        if !self.anything {
            return Vec::new();
        }
        let mut modes = |modes: &BTreeSet<u32>, mark: &str, on: &[u32]| {
            for mode in modes {
                let end = if on.contains(mode) { 'h' } else { 'l' };
                text.push_str(&format!("\x1b[{mark}{mode}{end}"));
            }
        };
        modes(&self.private, "?", ON_AT_FIRST);
        modes(&self.ansi, "", ANSI_ON_AT_FIRST);
        if self.margins {
            // Full margins send the cursor home.
            text.push_str("\x1b7\x1b[r\x1b8");
        }
        if self.keypad {
            text.push_str("\x1b>");
        }
        if self.keys {
            text.push_str("\x1b[<99u\x1b[=0u");
        }
        if self.other_keys {
            text.push_str("\x1b[>4m");
        }
        if self.colours {
            text.push_str("\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\");
        }
        // Plain letters of the terminal's own set; last, since a cursor that comes back brings its own.
        text.push_str("\x1b[0m\x1b(B\x0f");
        text.into_bytes()
    }
}

fn put(modes: &mut BTreeSet<u32>, mode: u32, differs: bool) {
    if !differs {
        modes.remove(&mode);
    } else if modes.len() < MOST {
        modes.insert(mode);
    }
}

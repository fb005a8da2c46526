//! What of the command's output may reach the host's terminal: an allow-list of escape sequences, over bytes.
//!
//! A terminal does as it is told, and some of what it can be told types, reads or hides: the clipboard can be asked for and filled with a
//! command that waits to be pasted (OSC 52), the title can be read back as if typed, a rectangle of the screen can be summed up letter by
//! letter, a notification can look like Tagout's own, device strings carry other protocols. Text, colours, cursor movement and what TUI programs use pass byte
//! for byte. What must stay true: what passes does not depend on how the output is cut into pieces; a string is passed only whole, or
//! after its kind is known to be a picture or a capability query; a sequence that this file does not know as harmless is dropped.
//!
//! Grammar: ECMA-48; xterm's control sequences (ctlseqs) for what the numbers mean.

mod left;

use left::Left;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;

/// Set to `write` outside, it lets the command fill the person's clipboard. Reading it is never possible.
pub(crate) const CLIPBOARD_VARIABLE: &str = "TAGOUT_CLIPBOARD";

/// Longest control sequence and longest command string that are kept whole; longer ones are dropped. The clipboard and links need most.
const MOST: usize = 1 << 20;
const MOST_CONTROL: usize = 256;

/// Operating system commands (`ESC ]` number) that only set something of the window or the text: titles, colours, working directory,
/// links, pointer, prompt marks. Not among them: notifications (9, 99, 777), which anybody could sign with Tagout's name, except progress
/// (`9 ; 4`); shell integration that keeps a history of commands to run again (633).
const HARMLESS_COMMANDS: &[u32] = &[
    0, 1, 2, 4, 5, 7, 8, 10, 11, 12, 13, 14, 17, 19, 22, 104, 105, 110, 111, 112, 113, 114, 117,
    119, 133,
];
const PROGRESS: &[u8] = b"9;4;";
const CLIPBOARD: u32 = 52;
/// Intermediates of the escape sequences that pass: character sets (`(` to `/`) and lines (`#`). Not among them is `%`, which takes a
/// terminal out of UTF-8, so that half of a letter is a control character to it.
const INTERMEDIATES: &[u8] = b"()*+-./#";
/// Asks what the terminal's answerback is.
const ENQ: u8 = 0x05;

/// Window operations (`CSI` number `t`) that neither move the window nor report its titles: sizes in three units, title stack.
const HARMLESS_WINDOW_OPERATIONS: &[&[u8]] = &[b"8", b"14", b"16", b"18", b"19", b"22", b"23"];

/// The state between two pieces of output.
#[derive(Default)]
pub(crate) struct EscapeFilter {
    /// Whether the clipboard may be written.
    clipboard: bool,
    /// Whether the terminal reads another encoding than UTF-8, where each byte from 0x80 to 0x9f is a control character.
    other_encoding: bool,
    state: State,
    /// The sequence so far, from its ESC on.
    held: Vec<u8>,
    /// Continuation bytes that the UTF-8 character at hand still needs, and the least that the next one may be: a smaller one
    /// would write a control character in a longer form.
    continuation: u8,
    least: u8,
    /// What passed and is not undone.
    left: Left,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After the first byte of U+0080 to U+00BF, whose first half are control characters of one byte each in other encodings.
    MaybeControl,
    Escape,
    Control,
    /// An operating system command; `ending`: after an ESC in it.
    Command {
        ending: bool,
    },
    /// The head of a device string, before its kind is known.
    DeviceHead,
    /// A device string that passes.
    Device {
        ending: bool,
    },
    /// A string that does not pass.
    Dropped {
        ending: bool,
    },
}

impl EscapeFilter {
    /// As the person wants it, who sets [`CLIPBOARD_VARIABLE`] outside.
    pub(crate) fn of_this_process() -> Self {
        Self {
            clipboard: std::env::var_os(CLIPBOARD_VARIABLE).is_some_and(|value| value == "write"),
            other_encoding: is_other_encoding(|name| std::env::var(name).ok()),
            ..Self::default()
        }
    }

    /// Appends to `output` what of `input` may pass.
    pub(crate) fn pass(&mut self, input: &[u8], output: &mut Vec<u8>) {
        for &byte in input {
            self.take(byte, output);
        }
    }

    /// What makes the terminal its own again after all that passed, to be written once nothing more will.
    pub(crate) fn end(&mut self, output: &mut Vec<u8>) {
        if matches!(self.state, State::Device { .. }) {
            output.extend(b"\x1b\\");
        }
        self.abandon();
        output.extend(self.left.undone());
    }

    fn take(&mut self, byte: u8, output: &mut Vec<u8>) {
        match self.state {
            State::Text => self.text(byte, output),
            State::MaybeControl => {
                self.state = State::Text;
                if byte >= 0xa0 {
                    output.extend([0xc2, byte]);
                } else if byte < 0x80 {
                    self.text(byte, output);
                }
            }
            State::Escape => self.escape(byte, output),
            State::Control => self.control(byte, output),
            State::Command { ending: false } => match byte {
                BEL => self.finish_command(&[BEL], output),
                ESC => self.state = State::Command { ending: true },
                CAN | SUB => self.abandon(),
                0x20.. => self.hold(byte, MOST),
                _ => {}
            },
            State::DeviceHead => match byte {
                ESC => self.state = State::Dropped { ending: true },
                CAN | SUB => self.abandon(),
                b'q' if self.is_picture_or_query() => {
                    self.held.push(byte);
                    output.append(&mut self.held);
                    self.state = State::Device { ending: false };
                }
                b'0'..=b'9' | b';' | b'+' if self.held.len() < MOST_CONTROL => self.held.push(byte),
                _ => self.state = State::Dropped { ending: false },
            },
            State::Device { ending: false } => match byte {
                ESC => self.state = State::Device { ending: true },
                CAN | SUB => {
                    output.push(byte);
                    self.abandon();
                }
                0x20..=0x7e | b'\r' | b'\n' => output.push(byte),
                _ => {}
            },
            State::Dropped { ending: false } => match byte {
                ESC => self.state = State::Dropped { ending: true },
                CAN | SUB => self.abandon(),
                _ => {}
            },
            State::Command { ending: true } if byte == b'\\' => {
                self.finish_command(b"\x1b\\", output)
            }
            State::Device { ending: true } => {
                // Whatever follows the ESC, the string is over; it is closed for the terminal.
                output.extend(b"\x1b\\");
                self.abandon();
                if byte != b'\\' {
                    self.take(ESC, output);
                    self.take(byte, output);
                }
            }
            State::Dropped { ending: true } if byte == b'\\' => self.abandon(),
            State::Command { ending: true } | State::Dropped { ending: true } => {
                // Another sequence breaks the string off.
                self.abandon();
                self.take(ESC, output);
                self.take(byte, output);
            }
        }
    }

    fn text(&mut self, byte: u8, output: &mut Vec<u8>) {
        if self.continuation > 0 && (self.least..0xc0).contains(&byte) {
            self.continuation -= 1;
            self.least = 0x80;
            if !(self.other_encoding && byte < 0xa0) {
                output.push(byte);
            }
            return;
        }
        self.continuation = 0;
        match byte {
            ESC => {
                self.held.push(ESC);
                self.state = State::Escape;
            }
            ENQ => {}
            // A lone byte of this range is a control character to terminals that do not read UTF-8.
            0x80..=0x9f => {}
            0xc2 => self.state = State::MaybeControl,
            _ => {
                self.continuation = match byte {
                    0xc3..=0xdf => 1,
                    0xe0..=0xef => 2,
                    0xf0..=0xf4 => 3,
                    _ => 0,
                };
                self.least = match byte {
                    0xe0 => 0xa0,
                    0xf0 => 0x90,
                    _ => 0x80,
                };
                output.push(byte);
            }
        }
    }

    fn escape(&mut self, byte: u8, output: &mut Vec<u8>) {
        match byte {
            b'[' => self.hold_as(byte, State::Control),
            b']' => self.hold_as(byte, State::Command { ending: false }),
            b'P' => self.hold_as(byte, State::DeviceHead),
            // Application and privacy strings, start of string, and screen's own title.
            b'_' | b'^' | b'X' | b'k' => self.state = State::Dropped { ending: false },
            // A second ESC begins anew.
            ESC => {}
            CAN | SUB => self.abandon(),
            0x20..=0x2f => self.hold(byte, MOST_CONTROL),
            0x30..=0x7e => {
                self.held.push(byte);
                if self
                    .held
                    .iter()
                    .skip(1)
                    .rev()
                    .skip(1)
                    .all(|byte| INTERMEDIATES.contains(byte))
                {
                    self.left.note(&self.held);
                    output.append(&mut self.held);
                }
                self.abandon();
            }
            ENQ => {}
            // Other control characters act at once, in the middle of a sequence.
            0x00..0x20 => output.push(byte),
            _ => {
                self.abandon();
                self.text(byte, output);
            }
        }
    }

    fn control(&mut self, byte: u8, output: &mut Vec<u8>) {
        match byte {
            0x20..=0x3f => self.hold(byte, MOST_CONTROL),
            0x40..=0x7e => {
                self.held.push(byte);
                if self.is_harmless_control() {
                    self.left.note(&self.held);
                    output.append(&mut self.held);
                }
                self.abandon();
            }
            ESC => {
                self.abandon();
                self.take(ESC, output);
            }
            CAN | SUB => self.abandon(),
            ENQ => {}
            0x00..0x20 => output.push(byte),
            _ => {
                self.abandon();
                self.text(byte, output);
            }
        }
    }

    /// Every control sequence draws, moves or asks what the terminal is, except: window operations; printing (`i`); checksums of the
    /// screen (`* y`, DECRQCRA), which read it; the status line (`$ }`, `$ ~`); macros (`* z`, DECINVM), which type; and keys that are given other texts (`p` without an
    /// intermediate).
    fn is_harmless_control(&self) -> bool {
        let body = self.held.get(2..).unwrap_or_default();
        match body.split_last() {
            Some((b't', parameters)) => {
                let operation = parameters
                    .split(|&byte| byte == b';')
                    .next()
                    .unwrap_or_default();
                HARMLESS_WINDOW_OPERATIONS.contains(&operation)
            }
            Some((b'i', _)) => false,
            // Output that goes to a status line, where nobody looks.
            Some((b'}' | b'~', parameters)) => !parameters.ends_with(b"$"),
            Some((b'y' | b'z', parameters)) => !parameters.ends_with(b"*"),
            Some((b'p', parameters)) => parameters
                .last()
                .is_some_and(|byte| (0x20..0x30).contains(byte)),
            _ => true,
        }
    }

    /// Whether a device string that goes on with `q` is a sixel picture (numbers) or asks for a terminal capability (`+`).
    fn is_picture_or_query(&self) -> bool {
        let head = self.held.get(2..).unwrap_or_default();
        head == b"+"
            || head
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b';')
    }

    fn finish_command(&mut self, end: &[u8], output: &mut Vec<u8>) {
        let body = self.held.get(2..).unwrap_or_default();
        let mut parts = body.splitn(2, |&byte| byte == b';');
        let number = parts
            .next()
            .and_then(|number| std::str::from_utf8(number).ok())
            .and_then(|text| text.parse().ok());
        let harmless = match number {
            // `52 ; selection ; ?` asks for the clipboard; base64 writes it.
            Some(CLIPBOARD) => self.clipboard && is_clipboard_text(body),
            Some(9) => body.starts_with(PROGRESS),
            Some(number) => HARMLESS_COMMANDS.contains(&number),
            None => false,
        };
        if harmless && self.is_plain(body) {
            self.left.note(&self.held);
            output.append(&mut self.held);
            output.extend(end);
        }
        self.abandon();
    }

    /// Whether a terminal reads a string to the end that it has here: the control characters of one byte, in UTF-8 of two, end it
    /// sooner, and begin others.
    fn is_plain(&self, body: &[u8]) -> bool {
        let is_control = |byte: &u8| (0x80..0xa0).contains(byte);
        std::str::from_utf8(body).is_ok_and(|text| !text.chars().any(char::is_control))
            && !(self.other_encoding && body.iter().any(is_control))
    }

    fn hold(&mut self, byte: u8, most: usize) {
        if self.held.len() < most {
            self.held.push(byte);
        } else {
            self.held.clear();
            self.state = State::Dropped { ending: false };
        }
    }

    fn hold_as(&mut self, byte: u8, state: State) {
        self.held.push(byte);
        self.state = state;
    }

    fn abandon(&mut self) {
        self.held.clear();
        self.state = State::Text;
    }
}

/// Whether the locale outside is of another encoding than UTF-8 (POSIX, "Environment Variables"). One that says nothing is taken
/// for UTF-8, as terminals are.
fn is_other_encoding(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    set.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        !(locale.contains("utf-8") || locale.contains("utf8"))
    })
}

/// `52 ; selection ; text`, where the text is base64 and nothing else, so that no terminal takes it for a question.
fn is_clipboard_text(body: &[u8]) -> bool {
    let mut parts = body.splitn(3, |&byte| byte == b';').skip(1);
    let (Some(selection), Some(text)) = (parts.next(), parts.next()) else {
        return false;
    };
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    selection.iter().all(u8::is_ascii_alphanumeric) && text.iter().all(base64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passed(input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        EscapeFilter::default().pass(input, &mut output);
        output
    }

    #[test]
    fn what_programs_draw_passes_byte_for_byte() {
        for harmless in [
            &b"plain \t text\r\n\x07\x08"[..],
            "größe 漢字 🦀 \u{a0}|\u{bf}".as_bytes(),
            b"\x1b[31;1mred\x1b[0m\x1b[2J\x1b[H\x1b[?1049h\x1b[?2026h\x1b[>1u\x1b[?u\x1b[c\x1b[6n\x1b[18t\x1b[22;0t",
            b"\x1b(B\x1b)0\x1b7\x1b8\x1b=\x1b>\x1bM\x1b#8",
            b"\x1b]0;title\x07\x1b]2;title\x1b\\\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\\x1b]11;?\x1b\\\x1b]133;A\x07",
            b"\x1b]9;4;1;50\x07",
            // Bracketed paste, mouse in its kinds, focus, cursor shape, alternate scroll, synchronised output and its query.
            b"\x1b[?2004h\x1b[?1000;1002;1003;1006;1015h\x1b[?1004h\x1b[2 q\x1b[?1007h\x1b[?2026$p\x1b[?2026l",
            // kitty's keyboard, modifyOtherKeys, true colour with both separators, styled and coloured underline.
            b"\x1b[>1u\x1b[=5;1u\x1b[<u\x1b[>4;2m\x1b[38;2;1;2;3m\x1b[48:2::4:5:6m\x1b[4:3m\x1b[58:5:9m\x1b[59m",
            // What vttest goes through: tabs, margins, insertion, erasure, double height, character sets, soft reset, reports.
            b"\x1bH\x1b[3g\x1b[2;20r\x1b[?69h\x1b[5;70s\x1b[4h\x1b[3P\x1b[2@\x1b[2L\x1b[2M\x1b[1J\x1b[1K\x1b[?3J\x1b#3\x1b#4\x1b#5",
            b"\x1b(0lqk\x1b(B\x0e\x0f\x1b*A\x1bn\x1b[!p\x1b[\"p\x1b[62;1\"p\x1b[?1$p\x1b[5n\x1b[?6n\x1b[>c\x1b[=c\x1b[>q\x1b[x\x1bD\x1bE\x1bc",
            b"\x1b[1;2;3;4;65$x\x1b[1;1;2;2$z\x1b[1;1;2;2;1;3;3;1$v\x1b[2*x\x1b[1 @\x1b[2 A\x1b[3S\x1b[3T\x1b[?1;1;0S",
            b"\x1b]7;file://host/path\x1b\\\x1b]8;id=1;https://example.com/?a=b;c\x07x\x1b]8;;\x07\x1b]4;1;rgb:ff/00/00\x07\x1b]104\x07\x1b]22;pointer\x1b\\",
            b"\x1b]133;A;cl=m\x07\x1b]133;D;0\x07\x1b[23;0t\x1b[16t\x1b[14t",
            b"\x1bP0;1;0q#0;2;0;0;0~~@@\x1b\\\x1bP+q544e\x1b\\",
        ] {
            assert_eq!(passed(harmless), harmless, "{}", String::from_utf8_lossy(harmless));
        }
    }

    #[test]
    fn what_types_reads_or_hides_is_dropped() {
        for harmful in [
            &b"\x1b]52;c;?\x07"[..],
            b"\x1b]52;;?\x1b\\",
            b"\x1b]52;c;aGVsbG8=\x07",
            b"\x1b]9;Tagout: approve s-1\x07",
            b"\x1b]9;9;/tmp\x07",
            b"\x1b]777;notify;Tagout;approve\x07",
            b"\x1b]99;;Tagout\x1b\\",
            b"\x1b]633;E;curl evil;nonce\x07",
            b"\x1b[1;1;1;1;1;1*y",
            b"\x1b[1*z",
            b"\x1b[5i",
            b"\x1b[?4i",
            b"\x1b[0;59;13p",
            b"\x05",
            b"\x1bP1!zcurl\x1b\\",
            b"\x1bP1|17/6375726c\x1b\\",
            b"\x1b_Gt=f;L2V0Yy9wYXNzd2Q=\x1b\\",
            b"\x1b[21t",
            b"\x1b[20t",
            b"\x1b[021t",
            b"\x1b[3;0;0t",
            b"\x1bP$qm\x1b\\",
            b"\x1bPtmux;\x1b\x1b]52;c;?\x07\x1b\\",
            b"\x1b_Gi=1;AAAA\x1b\\",
            b"\x1b^private\x1b\\",
            b"\x1bXstring\x1b\\",
            b"\x1bktitle\x1b\\",
            b"\x1b]1337;ReportVariable=x\x07",
            // Out of UTF-8, where half of a letter is a control character; other codings; and all that is not known.
            b"\x1b%@",
            b"\x1b%G",
            b"\x1b%/G",
            b"\x1b$B",
            b"\x1b$(C",
            b"\x1b G",
            b"\x1b!@",
            b"\x1b(%5",
            b"\x1b[1$}",
            b"\x1b[2$~",
            b"\x1b]50;?\x07",
            b"\x1b];x\x07",
            b"\x9d52;c;?\x07",
            "\u{9d}52;c;?\u{9c}".as_bytes(),
            // An end of string in a string that passes, and what then begins in it.
            "\x1b]0;a\u{9c}\u{90}$qm\u{9c}\x07".as_bytes(),
            "\x1b]0;a\u{9c}\u{9b}1;1;1;1;1;1*y\x07".as_bytes(),
            "\x1b]8;;https://example.com/\u{9c}\u{9d}52;c;aGk=\u{9c}\x1b\\".as_bytes(),
            b"\x1b]7;file://h/\x9c\x9d52;c;aGk=\x9c\x07",
            b"\x1b]133;A\x9c\x9d52;c;aGk=\x1b\\",
            b"\x1b]4;1;a\x7f\x07",
            // Control characters in longer forms than theirs.
            b"\xe0\x82\x9d52;c;?\x07",
            b"\xf0\x80\x82\x9d52;c;?\x07",
        ] {
            let rest = passed(&[harmful, &b"after"[..]].concat());
            // An end of string without a string does nothing.
            let rest = String::from_utf8_lossy(&rest).replace("\x1b\\", "");
            assert!(
                rest.ends_with("after"),
                "{harmful:?} swallowed what follows"
            );
            assert!(
                !rest.contains('\x1b') && !rest.contains('\u{9d}'),
                "{harmful:?} left {rest:?}"
            );
        }
    }

    #[test]
    fn invariant_9_a_terminal_is_its_own_again_at_the_end() {
        let end = |input: &[u8]| {
            let mut filter = EscapeFilter::default();
            filter.pass(input, &mut Vec::new());
            let mut output = Vec::new();
            filter.end(&mut output);
            String::from_utf8(output).unwrap()
        };
        // What only writes leaves nothing to do.
        assert_eq!(end("größe\r\n".as_bytes()), "");
        assert_eq!(
            end(b"\x1b[31mred\x1b[0m\x1b[?25l\x1b[?25h"),
            "\x1b[0m\x1b(B\x0f"
        );
        let hidden = end(
            b"\x1b]10;#000000\x07\x1b]11;#000000\x07\x1b[2;2r\x1b[8m\x1b(0\x0e\x1b[?1000;1006h\x1b[?25;7l\x1b[?1049h\x1b[4h\x1b[12l\x1b=\x1b[>1u\x1b[>4;2m\x1b[?2026h",
        );
        for back in [
            "\x1b[?1049l",
            "\x1b[?1000l",
            "\x1b[?1006l",
            "\x1b[?25h",
            "\x1b[?7h",
            "\x1b[?2026l",
            "\x1b[4l",
            "\x1b[12h",
            "\x1b[r",
            "\x1b>",
            "\x1b[<99u",
            "\x1b[>4m",
            "\x1b]110\x1b\\",
            "\x1b]111\x1b\\",
            "\x1b[0m",
            "\x1b(B",
            "\x0f",
        ] {
            assert!(hidden.contains(back), "{back:?} in {hidden:?}");
        }
        // Saved while it was on, and brought back.
        assert!(end(b"\x1b[?1049h\x1b[?1049s\x1b[?1049l\x1b[?1049r").contains("\x1b[?1049l"));
        // A picture that was not finished is.
        assert!(end(b"\x1bP0;1;0q#0;2;0;0;0~~").starts_with("\x1b\\"));
        // Reset by the program itself.
        assert_eq!(end(b"\x1b[?1049h\x1bc"), "");
    }

    #[test]
    fn invariant_9_the_clipboard_is_written_only_where_the_person_says_so_and_never_read() {
        let mut filter = EscapeFilter {
            clipboard: true,
            ..EscapeFilter::default()
        };
        let mut output = Vec::new();
        filter.pass(b"\x1b]52;c;aGVsbG8=\x07", &mut output);
        assert_eq!(output, b"\x1b]52;c;aGVsbG8=\x07");
        output.clear();
        for question in [
            "c;?", ";?", "c;??", "c; ?", "?;aGk=", "c", "c;aGk=;?", "c;?x",
        ] {
            filter.pass(format!("\x1b]52;{question}\x07").as_bytes(), &mut output);
            assert!(output.is_empty(), "{question}");
        }
    }

    #[test]
    fn invariant_9_a_terminal_of_another_encoding_gets_no_half_of_a_letter() {
        let mut filter = EscapeFilter {
            other_encoding: true,
            ..EscapeFilter::default()
        };
        let mut output = Vec::new();
        for text in [
            "Ý52;c;aGk=\x07”52;c;aGk=\x07",
            "\x1b]0;”52;c;aGk=\x07",
            "größe 漢字 🦀\r\n",
        ] {
            filter.pass(text.as_bytes(), &mut output);
        }
        assert!(!output.iter().any(|byte| (0x80..0xa0).contains(byte)));
        let locale = |of: &'static [(&str, &str)]| {
            is_other_encoding(|name| {
                let value = of.iter().find(|(known, _)| *known == name);
                value.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(locale(&[("LC_ALL", "C"), ("LANG", "C.UTF-8")]));
        assert!(locale(&[("LANG", "de_DE.ISO-8859-1")]));
        assert!(!locale(&[("LC_ALL", ""), ("LANG", "de_DE.utf8")]));
        assert!(!locale(&[]));
    }

    #[test]
    fn an_endless_string_keeps_no_memory() {
        let mut filter = EscapeFilter::default();
        let mut output = Vec::new();
        filter.pass(b"\x1b]0;", &mut output);
        for _ in 0..40 {
            filter.pass(&[b'a'; 100_000], &mut output);
        }
        assert!(output.is_empty() && filter.held.len() <= MOST);
        filter.pass(b"\x1b\\after", &mut output);
        assert_eq!(output, b"after");
    }

    fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            3 => prop::sample::select(b"\x1b\x1b\x1b[]]P_^Xk\\\x07\x18;;?00125q+t$\xc2\xc2\x9d\x9b\x90\x9c\xe2\xe0\xf0".to_vec()),
            1 => any::<u8>(),
        ];
        prop::collection::vec(byte, 0..60)
    }

    proptest! {
        #[test]
        fn cutting_the_output_changes_nothing(input in likely_bytes(), at in 0usize..60) {
            let at = at.min(input.len());
            let mut filter = EscapeFilter::default();
            let mut output = Vec::new();
            filter.pass(&input[..at], &mut output);
            filter.pass(&input[at..], &mut output);
            prop_assert_eq!(output, passed(&input));
        }

        #[test]
        fn what_passed_passes_again(input in likely_bytes()) {
            let once = passed(&input);
            prop_assert_eq!(passed(&once), once);
        }

        #[test]
        fn nothing_forbidden_begins_in_what_passed(input in likely_bytes()) {
            let output = passed(&input);
            for forbidden in [&b"\x1b_"[..], b"\x1b^", b"\x1bX", b"\x1bk", b"\x1bP$", b"\x1b]1337"] {
                prop_assert!(!output.windows(forbidden.len()).any(|window| window == forbidden));
            }
            // As a terminal decodes it, no control character of one byte is left.
            let read = String::from_utf8_lossy(&output);
            let has_control = read.chars().any(|letter| ('\u{80}'..'\u{a0}').contains(&letter));
            prop_assert!(!has_control);
        }

        #[test]
        fn text_is_untouched(text in "[ -~\\n\\t\u{a0}-\u{2fff}]{0,200}") {
            prop_assert_eq!(passed(text.as_bytes()), text.as_bytes());
        }
    }
}

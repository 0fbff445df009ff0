//! Words to people: output that survives `| head`, and colour only where it is welcome.

use std::io::{IsTerminal, Write};

/// Prints to stdout. A closed pipe is not an error: whoever listened has seen enough.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints to stderr: progress and remarks, never results.
pub fn err(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Colours, if they are on.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// No colours.
    #[cfg(test)]
    pub const PLAIN: Paint = Paint { on: false };

    /// Colours if stdout is a terminal and NO_COLOR is not set (<https://no-color.org>: set means not empty).
    pub fn for_stdout() -> Paint {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Paint { on: std::io::stdout().is_terminal() && !refused }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What is wrong.
    pub fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// What is well.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// What is uncertain.
    pub fn odd(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// An aside.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }
}

/// `12.3 s`, `45 ms`, `2 min 5 s`, `1 h 2 min`.
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        1_000_000_000..60_000_000_000 => format!("{:.1} s", ns as f64 / 1e9),
        60_000_000_000..3_600_000_000_000 => format!("{} min {} s", ns / 60_000_000_000, ns / 1_000_000_000 % 60),
        _ => format!("{} h {} min", ns / 3_600_000_000_000, ns / 60_000_000_000 % 60),
    }
}

/// A point of virtual time: seconds with six decimals, so that a column of them lines up.
pub fn at(t_ns: u64) -> String {
    format!("{:>10.6} s", t_ns as f64 / 1e9)
}

/// `1 seed`, `2 seeds`.
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

/// `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A part in percent, one decimal; 0 of 0 is 0.
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// `text` with every line after the first indented by `indent`, broken at spaces so that no line is longer than `width`.
pub fn wrap(text: &str, indent: usize, width: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > indent && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let shown: Vec<String> = [12, 1_500, 45_000_000, 12_300_000_000, 125_000_000_000, 3_720_000_000_000].map(duration).into();
        assert_eq!(shown, ["12 ns", "1.5 µs", "45.0 ms", "12.3 s", "2 min 5 s", "1 h 2 min"]);
    }

    #[test]
    fn numbers_have_separators() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn long_sentences_are_broken_at_spaces() {
        assert_eq!(wrap("one two three four", 2, 10), "one two\n  three\n  four");
        assert_eq!(wrap("", 2, 10), "");
    }
}

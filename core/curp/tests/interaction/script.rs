//! Lines of a script, taken apart: a command's words in order, and its `name=value` options. Every word must be asked for: what a
//! command does not know is an error, never ignored.

use std::str::FromStr;

use curp::{Nanos, NodeId};

/// One command, being taken apart.
pub struct Line<'a> {
    words: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
    next: usize,
}

impl<'a> Line<'a> {
    pub fn new(line: &'a str) -> Self {
        let (options, words): (Vec<_>, Vec<_>) = line.split_whitespace().partition(|word| word.contains('='));
        Line { words, options: options.iter().filter_map(|option| option.split_once('=')).collect(), next: 0 }
    }

    /// The next word, if there is one.
    pub fn maybe_word(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next).copied();
        self.next += usize::from(word.is_some());
        word
    }

    /// The next word, which must be there.
    pub fn word(&mut self, what: &str) -> Result<&'a str, String> {
        self.maybe_word().ok_or_else(|| format!("{what} is missing"))
    }

    /// The next word, as a value.
    pub fn value<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        parse(self.word(what)?, what)
    }

    /// All that is left, as one value.
    pub fn rest<T: FromStr<Err = String>>(&mut self) -> Result<T, String> {
        let rest = self.words[self.next..].join(" ");
        self.next = self.words.len();
        rest.parse()
    }

    /// An option's text, if it is given.
    pub fn text(&mut self, name: &str) -> Option<&'a str> {
        let at = self.options.iter().position(|(option, _)| *option == name)?;
        Some(self.options.remove(at).1)
    }

    /// An option's value, if it is given.
    pub fn option<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        self.text(name).map(|value| parse(value, name)).transpose()
    }

    /// An option's value, a list of nodes such as `1,3`, if it is given.
    pub fn nodes(&mut self, name: &str) -> Result<Option<Vec<NodeId>>, String> {
        self.text(name).map(|list| list.split(',').map(|node| parse(node, name)).collect()).transpose()
    }

    /// Nothing may be left over.
    pub fn done(&self) -> Result<(), String> {
        match (self.words.get(self.next), self.options.first()) {
            (Some(word), _) => Err(format!("`{word}` is one word too many")),
            (None, Some((option, value))) => Err(format!("the option `{option}={value}` is not known here")),
            (None, None) => Ok(()),
        }
    }
}

fn parse<T: FromStr>(word: &str, what: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is not a {what}"))
}

/// A duration, such as `150ms`.
pub struct Duration(pub Nanos);

impl FromStr for Duration {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let parsed = s.strip_suffix("ms").and_then(|n| n.parse::<Nanos>().ok()).map(|ms| Duration(ms * 1_000_000));
        parsed.ok_or_else(|| format!("`{s}` is not a duration; one looks like 150ms"))
    }
}

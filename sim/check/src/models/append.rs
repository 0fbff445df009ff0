//! A string for every key, initially empty, with get, put and append (the key-value histories of Porcupine's test data).
//!
//! What makes these fast: a state that is no beginning of anything a get returned is as good as lost, since no append makes it
//! one again. And where every written value is unique and none begins another, a returned string says which writes made it,
//! in which order: a write that some get has seen then fits in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{History, Model};

/// An operation on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The key.
    pub key: String,
    /// What to do with it.
    pub action: Action,
}

/// What to do with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Returns the string.
    Get,
    /// Replaces it.
    Put(String),
    /// Adds to its end.
    Append(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ret {
    /// To a get.
    Value(String),
    /// To a put or an append.
    Done,
}

/// What a key holds, as far as anyone can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The string itself.
    Text(String),
    /// A node of the trie of returned strings.
    Node(u32),
    /// A string that no get returns, nor any continuation of it.
    Lost,
}

/// String registers, one for every key. A state is that of one key, so histories of several must be partitioned first (the search does).
#[derive(Clone, Debug, Default)]
pub struct Append {
    observed: Arc<Observed>,
}

/// What the gets of one key returned.
#[derive(Debug, Default)]
enum Observed {
    /// Not looked at.
    #[default]
    Anything,
    /// The strings, in order.
    Texts(Vec<String>),
    /// The strings as sequences of written values.
    Trie(Trie),
}

#[derive(Debug, Default)]
struct Trie {
    /// Text of each node; node 0 is the empty string.
    texts: Vec<String>,
    /// The node after a node and a written value.
    next: BTreeMap<(u32, String), u32>,
    /// Every written value that some get saw.
    seen: BTreeSet<String>,
}

impl Trie {
    /// `None` if the written values are not unique, or one begins another: then a string does not say what made it.
    fn new<'a>(written: impl Iterator<Item = &'a str>, returned: impl Iterator<Item = &'a str>) -> Option<Trie> {
        let mut tokens: Vec<&str> = written.collect();
        tokens.sort_unstable();
        if tokens.first() == Some(&"") || tokens.windows(2).any(|pair| pair[1].starts_with(pair[0])) {
            return None;
        }
        let mut trie = Trie { texts: vec![String::new()], ..Trie::default() };
        for text in returned {
            let (mut node, mut at) = (0, 0);
            while at < text.len() {
                // No token begins another, so the only one that can begin the rest is the last one not after it in order.
                let token = tokens.partition_point(|token| *token <= &text[at..]).checked_sub(1).map(|i| tokens[i]);
                let Some(token) = token.filter(|token| text[at..].starts_with(token)) else { break };
                at += token.len();
                let fresh = trie.texts.len() as u32;
                let next = *trie.next.entry((node, token.to_string())).or_insert(fresh);
                if next == fresh {
                    trie.texts.push(text[..at].to_string());
                    trie.seen.insert(token.to_string());
                }
                node = next;
            }
        }
        Some(trie)
    }

    fn write(&self, node: Option<u32>, value: &str) -> Option<State> {
        let next = node.and_then(|node| self.next.get(&(node, value.to_string())));
        match next {
            Some(&next) => Some(State::Node(next)),
            // Elsewhere it would be in vain: it is unique, and whoever returned it could not have.
            None if self.seen.contains(value) => None,
            None => Some(State::Lost),
        }
    }
}

impl Append {
    fn text(&self, text: String) -> State {
        match &*self.observed {
            // The first string not before `text` in order begins with it if any does.
            Observed::Texts(texts) if !texts.get(texts.partition_point(|t| *t < text)).is_some_and(|t| t.starts_with(&text)) => State::Lost,
            _ => State::Text(text),
        }
    }
}

impl Model for Append {
    type Op = Op;
    type Ret = Ret;
    type State = State;

    fn initial(&self) -> State {
        match &*self.observed {
            Observed::Trie(_) => State::Node(0),
            _ => self.text(String::new()),
        }
    }

    fn step(&self, state: &State, op: &Op, ret: Option<&Ret>, _branch: u32) -> Option<State> {
        if matches!(op.action, Action::Get) {
            let fits = match (ret, state, &*self.observed) {
                (None, ..) => true,
                (Some(Ret::Value(value)), State::Text(text), _) => value == text,
                (Some(Ret::Value(value)), State::Node(node), Observed::Trie(trie)) => *value == trie.texts[*node as usize],
                _ => false,
            };
            return fits.then(|| state.clone());
        }
        if ret.is_some_and(|ret| *ret != Ret::Done) {
            return None;
        }
        match (&*self.observed, &op.action, state) {
            (Observed::Trie(trie), Action::Put(value), _) => trie.write(Some(0), value),
            (Observed::Trie(trie), Action::Append(value), State::Node(node)) => trie.write(Some(*node), value),
            (Observed::Trie(trie), Action::Append(value), _) => trie.write(None, value),
            (_, Action::Put(value), _) => Some(self.text(value.clone())),
            (_, Action::Append(value), State::Text(text)) => Some(self.text(format!("{text}{value}"))),
            _ => Some(State::Lost),
        }
    }

    fn reads_only(&self, op: &Op, _ret: Option<&Ret>) -> bool {
        matches!(op.action, Action::Get)
    }

    fn interchangeable(&self, a: &Op, b: &Op) -> bool {
        a == b
    }

    fn partition(&self, history: History<Self>) -> Vec<(Self, History<Self>)> {
        let mut keys: BTreeMap<String, History<Self>> = BTreeMap::new();
        for op in history {
            // By hand, since `entry` would clone every key.
            match keys.get_mut(&op.op.key) {
                Some(part) => part.push(op),
                None => _ = keys.insert(op.op.key.clone(), vec![op]),
            }
        }
        keys.into_values().map(specialised).collect()
    }

    fn describe(&self, op: &Op, ret: Option<&Ret>) -> String {
        match (&op.action, ret) {
            (Action::Get, Some(Ret::Value(value))) => format!("get({}) → {}", op.key, quoted(value)),
            (Action::Get, _) => format!("get({})", op.key),
            (Action::Put(value), _) => format!("put({}, {})", op.key, quoted(value)),
            (Action::Append(value), _) => format!("append({}, {})", op.key, quoted(value)),
        }
    }

    fn describe_state(&self, state: &State) -> String {
        match (state, &*self.observed) {
            (State::Text(text), _) => quoted(text),
            (State::Node(node), Observed::Trie(trie)) => quoted(&trie.texts[*node as usize]),
            _ => "a string that no get returned".into(),
        }
    }
}

/// The model of one key, and its history without unanswered writes that nobody saw.
fn specialised(mut part: History<Append>) -> (Append, History<Append>) {
    let written = part.iter().filter_map(|op| match &op.op.action {
        Action::Put(value) | Action::Append(value) => Some(value.as_str()),
        Action::Get => None,
    });
    let returned = part.iter().filter_map(|op| match &op.ret {
        Some(Ret::Value(value)) => Some(value.as_str()),
        _ => None,
    });
    let observed = match Trie::new(written, returned.clone()) {
        Some(trie) => Observed::Trie(trie),
        None => {
            let mut texts: Vec<String> = returned.map(str::to_string).collect();
            texts.sort_unstable();
            Observed::Texts(texts)
        }
    };
    if let Observed::Trie(trie) = &observed {
        part.retain(|op| {
            op.is_complete() || matches!(&op.op.action, Action::Put(value) | Action::Append(value) if trie.seen.contains(value))
        });
    }
    (Append { observed: Arc::new(observed) }, part)
}

/// The string in quotes; of a long one, its ends.
fn quoted(text: &str) -> String {
    let chars = text.chars().count();
    if chars <= 60 {
        return format!("{text:?}");
    }
    let (head, tail): (String, String) = (text.chars().take(25).collect(), text.chars().skip(chars - 25).collect());
    format!("{head:?}…{tail:?} ({chars} characters)")
}

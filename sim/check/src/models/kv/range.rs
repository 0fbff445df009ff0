//! Whether a range may have been answered so, given what its keys hold. Which pairs it left out by their revisions, and in which order those
//! are, the values do not tell: there the answer need only be made of what there was.

use kv::{KeyValue, RangeRequest, SortOrder, SortTarget};

use super::{Cell, Kv, filters};

impl Kv {
    /// `found`: the cells in the range, in key order.
    pub(super) fn fits(&self, found: &[Cell], range: &RangeRequest, kvs: &[KeyValue], count: u64, more: bool) -> bool {
        if count != found.len() as u64 {
            return false;
        }
        if range.count_only {
            return kvs.is_empty() && !more;
        }
        let limit = if range.limit == 0 { usize::MAX } else { usize::try_from(range.limit).unwrap_or(usize::MAX) };
        let length_fits = if filters(range) {
            kvs.len() <= limit.min(found.len()) && (!more || kvs.len() == limit)
        } else {
            kvs.len() == limit.min(found.len()) && more == (found.len() > limit)
        };
        let is = |cell: &Cell, kv: &KeyValue| match range.keys_only {
            true => {
                kv.value.as_slice().is_empty()
                    && self.is(*cell, &KeyValue { value: self.names.values[cell.value as usize].clone(), ..kv.clone() })
            }
            false => self.is(*cell, kv),
        };
        // Without an order only these are fetched, in key order, before they are sorted.
        let unordered = range.sort_order == SortOrder::None && !filters(range);
        let fetched = if unordered { found.len().min(limit.saturating_add(1)) } else { found.len() };
        let found = &found[..fetched];
        let ordered = match sorted(found, range) {
            // With nothing left out it begins as the answer does; else the answer picks from it.
            Some(sorted) if filters(range) => {
                let mut rest = sorted.iter();
                kvs.iter().all(|kv| rest.any(|cell| is(cell, kv)))
            }
            Some(sorted) => sorted.iter().zip(kvs).all(|(cell, kv)| is(cell, kv)),
            None => {
                let distinct = kvs.iter().enumerate().all(|(i, kv)| kvs[..i].iter().all(|other| other.key != kv.key));
                distinct && kvs.iter().all(|kv| found.iter().any(|cell| is(cell, kv)))
            }
        };
        length_fits && ordered
    }
}

/// The cells in the order asked for; `None`: it goes by revisions.
fn sorted(found: &[Cell], range: &RangeRequest) -> Option<Vec<Cell>> {
    let mut cells = found.to_vec();
    let by: fn(&Cell) -> u32 = match range.sort_target {
        SortTarget::Key => |cell| cell.key,
        SortTarget::Version => |cell| cell.version,
        SortTarget::Value => |cell| cell.value,
        SortTarget::Create | SortTarget::Mod => return None,
    };
    match range.sort_order {
        SortOrder::None | SortOrder::Ascend => cells.sort_by_key(by),
        SortOrder::Descend => cells.sort_by_key(|cell| std::cmp::Reverse(by(cell))),
    }
    Some(cells)
}

//! An ordered map of rows whose copy costs nothing until one of the two changes: a B+ tree of shared nodes.
//!
//! RowMap are put and never taken out. A search goes through three or four nodes, each of whose rows stand side by side; a put changes
//! one leaf in place, unless a view shares it: then that leaf and the nodes above it are copied first.

use std::slice;
use std::sync::Arc;

use super::memtable::{Newest, Row};

/// A put moves half of a leaf, and copies all of it where a view shares it; a search halves it.
const FANOUT: usize = 16;

#[derive(Clone)]
pub(super) struct RowMap(Arc<Node>);

#[derive(Clone)]
enum Node {
    Leaf(Vec<(Row, Newest)>),
    Inner {
        /// The first row of each child but the first.
        firsts: Vec<Row>,
        children: Vec<Arc<Self>>,
    },
}

/// Of a node that was full the right half, and its first row.
type Split = Option<(Row, Arc<Node>)>;

impl RowMap {
    pub(super) fn put(&mut self, row: Row, newest: Newest) {
        if let Some((first, right)) = Arc::make_mut(&mut self.0).put(row, newest) {
            let children = vec![Arc::clone(&self.0), right];
            self.0 = Arc::new(Node::Inner { firsts: vec![first], children });
        }
    }

    pub(super) fn get(&self, row: &Row) -> Option<&Newest> {
        let mut node = &*self.0;
        loop {
            match node {
                Node::Inner { firsts, children } => node = &children[child(firsts, row)],
                Node::Leaf(rows) => {
                    let at = rows.binary_search_by(|(one, _)| one.cmp(row)).ok()?;
                    return Some(&rows[at].1);
                }
            }
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        let mut iter = Iter { above: Vec::new(), leaf: [].iter() };
        iter.descend(&self.0);
        iter
    }

    /// From this row on.
    pub(super) fn iter_from(&self, row: &Row) -> Iter<'_> {
        let (mut above, mut node) = (Vec::new(), &*self.0);
        loop {
            match node {
                Node::Inner { firsts, children } => {
                    let at = child(firsts, row);
                    above.push(children[at + 1..].iter());
                    node = &children[at];
                }
                Node::Leaf(rows) => {
                    let at = rows.partition_point(|(one, _)| one < row);
                    return Iter { above, leaf: rows[at..].iter() };
                }
            }
        }
    }
}

impl Default for RowMap {
    fn default() -> Self {
        Self(Arc::new(Node::Leaf(Vec::new())))
    }
}

/// Which child has the row, if one does.
fn child(firsts: &[Row], row: &Row) -> usize {
    firsts.partition_point(|first| first <= row)
}

impl Node {
    fn put(&mut self, row: Row, newest: Newest) -> Split {
        match self {
            Self::Leaf(rows) => {
                match rows.binary_search_by(|(one, _)| one.cmp(&row)) {
                    Ok(at) => rows[at].1 = newest,
                    Err(at) => insert(rows, at, (row, newest)),
                }
                let right = split(rows)?;
                Some((right[0].0.clone(), Arc::new(Self::Leaf(right))))
            }
            Self::Inner { firsts, children } => {
                let at = child(firsts, &row);
                let (first, right) = Arc::make_mut(&mut children[at]).put(row, newest)?;
                insert(firsts, at, first);
                insert(children, at + 1, right);
                let children = split(children)?;
                let right = firsts.split_off(firsts.len() - (children.len() - 1));
                let first = firsts.pop().expect("one for each child but the first");
                Some((first, Arc::new(Self::Inner { firsts: right, children })))
            }
        }
    }
}

/// Without more room than a node needs, whose copies have none.
fn insert<T>(within: &mut Vec<T>, at: usize, one: T) {
    if within.len() == within.capacity() {
        within.reserve_exact((FANOUT + 1).saturating_sub(within.len()).max(1));
    }
    within.insert(at, one);
}

fn split<T>(full: &mut Vec<T>) -> Option<Vec<T>> {
    (full.len() > FANOUT).then(|| full.split_off(full.len() / 2))
}

/// RowMap in order.
pub(super) struct Iter<'a> {
    /// Of each node on the way down the children to the right.
    above: Vec<slice::Iter<'a, Arc<Node>>>,
    leaf: slice::Iter<'a, (Row, Newest)>,
}

impl<'a> Iter<'a> {
    /// To the first row below this node.
    fn descend(&mut self, mut node: &'a Node) {
        loop {
            match node {
                Node::Leaf(rows) => break self.leaf = rows.iter(),
                Node::Inner { children, .. } => {
                    let mut children = children.iter();
                    let Some(first) = children.next() else { return };
                    self.above.push(children);
                    node = first;
                }
            }
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a Row, &'a Newest);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((row, newest)) = self.leaf.next() {
                return Some((row, newest));
            }
            match self.above.last_mut()?.next() {
                Some(node) => self.descend(node),
                None => drop(self.above.pop()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lsm_tree::Slice;

    use super::*;
    use crate::disk::simulated::Dice;

    type Model = BTreeMap<Vec<u8>, u64>;

    fn row(bytes: &[u8]) -> Row {
        Row::new(Slice::from(bytes))
    }

    fn assert_is(rows: &RowMap, model: &Model, dice: &mut Dice) {
        let all: Model = rows.iter().map(|(row, newest)| (row.row.to_vec(), newest.at)).collect();
        assert_eq!(all, *model);
        assert!(rows.iter().map(|(row, _)| row).is_sorted());
        for _ in 0..50 {
            let from = bytes(dice);
            let behind: Vec<u64> =
                rows.iter_from(&row(&from)).map(|(_, newest)| newest.at).collect();
            assert_eq!(behind, model.range(from.clone()..).map(|(_, at)| *at).collect::<Vec<_>>());
            let found = rows.get(&row(&from)).map(|newest| newest.at);
            assert_eq!(found, model.get(&from).copied());
        }
    }

    /// Some are in order, some the same, some the beginning of others.
    fn bytes(dice: &mut Dice) -> Vec<u8> {
        let length = dice.below(40);
        (0..length).map(|_| u8::try_from(dice.below(3)).unwrap()).collect()
    }

    #[test]
    fn it_is_as_a_map_and_what_was_seen_of_it_does_not_change() {
        for seed in 1..=6 {
            let mut dice = Dice(seed);
            let (mut rows, mut model) = (RowMap::default(), Model::new());
            let mut seen: Vec<(RowMap, Model)> = Vec::new();
            for at in 0..12_000_u64 {
                let bytes = match seed % 3 {
                    0 => at.to_be_bytes().to_vec(),
                    1 => (u64::MAX - at).to_be_bytes().to_vec(),
                    _ => bytes(&mut dice),
                };
                rows.put(row(&bytes), Newest { at, value: None });
                model.insert(bytes, at);
                if dice.below(1_000) == 0 {
                    seen.push((rows.clone(), model.clone()));
                }
                if dice.below(3_000) == 0 {
                    seen.clear();
                }
            }
            seen.push((rows, model));
            seen.iter().for_each(|(rows, model)| assert_is(rows, model, &mut dice));
        }
    }
}

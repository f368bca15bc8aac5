//! Which operations of one connection may be under way together.
//!
//! Keeps: what a connection asks of one slot happens as if it had asked one after the other. Reads of a slot run
//! together, writes of a slot run together (the store keeps their order), a change from one to the other waits.

use std::collections::{HashMap, VecDeque};

use quorate_model::Slot;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Read,
    Write,
}

/// `T` is what is to be started.
#[derive(Debug)]
pub(super) struct Order<T> {
    slots: HashMap<Slot, Lane<T>>,
    /// One after the other, also of those that may go together: each is to know what the one before has seen.
    pub(super) one_by_one: bool,
}

#[derive(Debug)]
struct Lane<T> {
    /// What those under way do.
    access: Access,
    running: usize,
    held: VecDeque<(Access, T)>,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { slots: HashMap::new(), one_by_one: false }
    }
}

impl<T> Order<T> {
    /// Answers with the task when it may start; otherwise keeps it for [`Order::finished`].
    pub(super) fn admit(&mut self, slot: Slot, access: Access, task: T) -> Option<T> {
        let lane = self.slots.entry(slot).or_insert_with(|| Lane {
            access,
            running: 0,
            held: VecDeque::new(),
        });
        let together = lane.access == access && lane.held.is_empty() && !self.one_by_one;
        if together || lane.running == 0 {
            lane.running += 1;
            return Some(task);
        }
        lane.held.push_back((access, task));
        None
    }

    /// One operation on the slot has ended: these may start, in this order.
    pub(super) fn finished(&mut self, slot: Slot) -> Vec<T> {
        let lane = self.slots.get_mut(&slot).expect("what ends was admitted");
        assert!(lane.running > 0);
        lane.running -= 1;
        if lane.running > 0 {
            return Vec::new();
        }
        let Some((access, _)) = lane.held.front() else {
            self.slots.remove(&slot);
            return Vec::new();
        };
        lane.access = *access;
        let mut start = Vec::new();
        while lane.held.front().is_some_and(|(access, _)| *access == lane.access) {
            start.extend(lane.held.pop_front().map(|(_, task)| task));
            if self.one_by_one {
                break;
            }
        }
        lane.running = start.len();
        start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn a_read_waits_for_the_writes_before_it_and_later_writes_wait_for_the_read() {
        let mut order = Order::default();
        assert_eq!(order.admit(slot(1), Access::Write, 1), Some(1));
        assert_eq!(order.admit(slot(1), Access::Write, 2), Some(2));
        assert_eq!(order.admit(slot(1), Access::Read, 3), None);
        assert_eq!(order.admit(slot(1), Access::Read, 4), None);
        assert_eq!(order.admit(slot(1), Access::Write, 5), None);
        assert!(order.finished(slot(1)).is_empty());
        assert_eq!(order.finished(slot(1)), vec![3, 4]);
        assert!(order.finished(slot(1)).is_empty());
        assert_eq!(order.finished(slot(1)), vec![5]);
        assert!(order.finished(slot(1)).is_empty());
        assert!(order.is_empty());
    }

    #[test]
    fn one_by_one_each_waits_for_the_one_before_of_its_slot() {
        let mut order = Order { one_by_one: true, ..Order::default() };
        assert_eq!(order.admit(slot(1), Access::Read, 1), Some(1));
        assert_eq!(order.admit(slot(1), Access::Read, 2), None);
        assert_eq!(order.admit(slot(1), Access::Read, 3), None);
        assert_eq!(order.admit(slot(2), Access::Read, 4), Some(4));
        assert_eq!(order.finished(slot(1)), vec![2]);
        assert_eq!(order.finished(slot(1)), vec![3]);
    }

    #[test]
    fn slots_do_not_wait_for_each_other() {
        let mut order = Order::default();
        assert_eq!(order.admit(slot(1), Access::Write, 1), Some(1));
        assert_eq!(order.admit(slot(2), Access::Read, 2), Some(2));
    }
}

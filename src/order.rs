//! Putting short lists in order, in little code.
//!
//! Each use of the standard library's stable sort is 5 kB of machine code of its own, made for millions of items; a list
//! of printers or files has tens. Here all uses share one sort of places, and only the moving is made for each type.

use std::cmp::Ordering;

/// Stable, like `sort_by` and `sort_by_key`, and as quick within a factor; for lists, not for masses of data.
pub trait Order<T> {
    /// Like `sort_by`.
    fn order_by(&mut self, compare: impl FnMut(&T, &T) -> Ordering);

    /// Like `sort_by_key`.
    fn order_by_key<K: Ord>(&mut self, key: impl FnMut(&T) -> K);
}

impl<T> Order<T> for [T] {
    fn order_by(&mut self, mut compare: impl FnMut(&T, &T) -> Ordering) {
        let places = places(self.len(), &mut |a, b| match (self.get(a), self.get(b)) {
            (Some(a), Some(b)) => compare(a, b),
            _ => Ordering::Equal,
        });
        for to in 0..places.len() {
            // What belongs here was moved by the swaps before, if it stood before here.
            let mut from = to;
            while let Some(next) = places.get(from).copied() {
                from = next;
                if from >= to {
                    break;
                }
            }
            self.swap(to, from);
        }
    }

    fn order_by_key<K: Ord>(&mut self, mut key: impl FnMut(&T) -> K) {
        self.order_by(|a, b| key(a).cmp(&key(b)));
    }
}

/// Which item belongs to which place.
fn places(len: usize, compare: &mut dyn FnMut(usize, usize) -> Ordering) -> Vec<usize> {
    let mut places: Vec<usize> = (0..len).collect();
    places.sort_by(|a, b| compare(*a, *b));
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_same_as_the_standard_library_makes_of_it(keys in prop::collection::vec(0u8..20, 0..80)) {
            let given: Vec<(u8, usize)> = keys.into_iter().zip(0..).collect();
            let (mut ours, mut theirs) = (given.clone(), given);
            ours.order_by_key(|(key, _)| *key);
            theirs.sort_by_key(|(key, _)| *key);
            prop_assert_eq!(&ours, &theirs);
            ours.order_by(|a, b| b.cmp(a));
            theirs.sort_by(|a, b| b.cmp(a));
            prop_assert_eq!(ours, theirs);
        }
    }
}

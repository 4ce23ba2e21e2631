//! The order in which entry sums are hashed.
//!
//! Sums of one path stand in the archive's order, all others in their own: that relation has
//! cycles (X0 before X1 by position, X1 < Y < X0 by sum), and then the result is whatever the sort
//! of the time made of it. So this is the sort of Go up to 1.5, step by step: quicksort as Bentley
//! and McIlroy have it, insertion sort for little, heap sort when it goes too deep. It ends for any
//! relation, because every loop is bounded by indexes.

/// Ranges of at most this length are sorted by insertion.
const INSERTION_LENGTH_MAX: usize = 7;
/// Ranges longer than this choose their pivot among nine items, not three.
const MEDIAN_LENGTH_MAX: usize = 40;

/// Sorts `items` by a relation that need not be an order.
pub(super) fn sort(items: &mut [u32], less: impl Fn(u32, u32) -> bool) {
    let end = items.len();
    let depth = 2 * (usize::BITS - end.leading_zeros());
    Sorter { items, less }.quick(0, end, depth);
}

struct Sorter<'a, F> {
    items: &'a mut [u32],
    less: F,
}

impl<F: Fn(u32, u32) -> bool> Sorter<'_, F> {
    fn less(&self, one: usize, other: usize) -> bool {
        (self.less)(self.items[one], self.items[other])
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.items.swap(one, other);
    }

    fn quick(&mut self, mut low: usize, mut high: usize, mut depth: u32) {
        while high - low > INSERTION_LENGTH_MAX {
            if depth == 0 {
                return self.heap(low, high);
            }
            depth -= 1;
            let (middle_low, middle_high) = self.partition(low, high);
            // The smaller side first, so that calls nest no deeper than the logarithm.
            if middle_low - low < high - middle_high {
                self.quick(low, middle_low, depth);
                low = middle_high;
            } else {
                self.quick(middle_high, high, depth);
                high = middle_low;
            }
        }
        self.insertion(low, high);
    }

    fn insertion(&mut self, low: usize, high: usize) {
        for end in low + 1..high {
            let mut at = end;
            while at > low && self.less(at, at - 1) {
                self.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    fn heap(&mut self, low: usize, high: usize) {
        let length = high - low;
        for root in (0..=length.saturating_sub(1) / 2).rev() {
            self.sift_down(low, root, length);
        }
        for end in (0..length).rev() {
            self.swap(low, low + end);
            self.sift_down(low, 0, end);
        }
    }

    fn sift_down(&mut self, first: usize, mut root: usize, end: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= end {
                return;
            }
            if child + 1 < end && self.less(first + child, first + child + 1) {
                child += 1;
            }
            if !self.less(first + root, first + child) {
                return;
            }
            self.swap(first + root, first + child);
            root = child;
        }
    }

    /// Moves the median of three items to `middle`.
    fn median(&mut self, middle: usize, small: usize, large: usize) {
        if self.less(middle, small) {
            self.swap(middle, small);
        }
        if self.less(large, middle) {
            self.swap(large, middle);
            if self.less(middle, small) {
                self.swap(middle, small);
            }
        }
    }

    /// Divides a range by a pivot of its own: what is less comes before the indexes that are given,
    /// what is greater from the second on.
    fn partition(&mut self, low: usize, high: usize) -> (usize, usize) {
        let middle = low + (high - low) / 2;
        if high - low > MEDIAN_LENGTH_MAX {
            let step = (high - low) / 8;
            self.median(low, low + step, low + 2 * step);
            self.median(middle, middle - step, middle + step);
            self.median(high - 1, high - 1 - step, high - 1 - 2 * step);
        }
        self.median(low, middle, high - 1);

        // From `low`: equal up to `a`, less up to `b`, not looked at up to `c`, greater up to `d`,
        // equal up to `high`.
        let pivot = low;
        let (mut a, mut b, mut c, mut d) = (low + 1, low + 1, high, high);
        loop {
            while b < c {
                if self.less(b, pivot) {
                    b += 1;
                } else if !self.less(pivot, b) {
                    self.swap(a, b);
                    a += 1;
                    b += 1;
                } else {
                    break;
                }
            }
            while b < c {
                if self.less(pivot, c - 1) {
                    c -= 1;
                } else if !self.less(c - 1, pivot) {
                    c -= 1;
                    d -= 1;
                    self.swap(c, d);
                } else {
                    break;
                }
            }
            if b >= c {
                break;
            }
            self.swap(b, c - 1);
            b += 1;
            c -= 1;
        }

        // The equal ones go from both ends to the middle.
        let count = (b - a).min(a - low);
        self.swap_ranges(low, b - count, count);
        let count = (high - d).min(d - c);
        self.swap_ranges(c, high - count, count);
        (low + (b - a), high - (d - c))
    }

    fn swap_ranges(&mut self, one: usize, other: usize, count: usize) {
        for index in 0..count {
            self.swap(one + index, other + index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A relation with many cycles.
    fn cyclic(one: u32, other: u32) -> bool {
        let (low, high) = (one.min(other), one.max(other));
        one != other && (((low * 31 + high * 17) % 7 < 3) == (one < other))
    }

    /// Stands for an order in one number.
    fn mark(items: &[u32]) -> u32 {
        (0..).zip(items).fold(0, |sum, (index, item)| (sum * 31 + item + index) % 1_000_003)
    }

    /// What the sort of Go up to 1.5 made of it, and its heap sort alone.
    #[test]
    fn a_relation_with_cycles_is_sorted_as_it_was() {
        for (count, quick, heap) in [
            (3, 1056, 1056),
            (7, 480_597, 6557),
            (8, 815_847, 207_234),
            (12, 130_736, 693_591),
            (40, 321_252, 104_549),
            (41, 982_464, 242_290),
            (100, 157_833, 207_677),
            (1000, 165_899, 410_230),
        ] {
            let mut items: Vec<u32> = (0..count).collect();
            sort(&mut items, cyclic);
            assert_eq!(mark(&items), quick, "{count}");
            let mut items: Vec<u32> = (0..count).collect();
            Sorter { items: &mut items, less: cyclic }.heap(0, count as usize);
            assert_eq!(mark(&items), heap, "{count}");
        }
    }

    #[test]
    fn heap_sort_sorts() {
        let mut items: Vec<u32> = (0..100).map(|number| number * 37 % 101).collect();
        let mut expected = items.clone();
        expected.sort_unstable();
        Sorter { items: &mut items, less: |one, other| one < other }.heap(0, 100);
        assert_eq!(items, expected);
    }

    proptest! {
        #[test]
        fn an_order_is_kept(mut items in prop::collection::vec(0..500_u32, 0..400)) {
            let mut expected = items.clone();
            expected.sort_unstable();
            sort(&mut items, |one, other| one < other);
            prop_assert_eq!(items, expected);
        }

        #[test]
        fn any_relation_gives_all_items_back(
            count in 0..400_u32, seed: u64,
        ) {
            let mut items: Vec<u32> = (0..count).collect();
            let less = |one: u32, other: u32| {
                let mix = seed ^ (u64::from(one) << 32 | u64::from(other));
                mix.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 1
            };
            sort(&mut items, less);
            items.sort_unstable();
            prop_assert!(items.into_iter().eq(0..count));
        }
    }
}

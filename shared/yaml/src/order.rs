//! The order of keys in output: letters after everything else, runs of digits by their value.

use std::cmp::Ordering;

/// How two mapping keys compare in output: `_x` before `9` before `10` before `A` before `a` before `a-b` before `b`.
///
/// The rule is not transitive (`a1b` < `a2` < `a10b` < `a1b`), so it must not be handed to a sort that insists on a
/// total order; within this crate a merge sort is used that does not.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    if a == b {
        Ordering::Equal
    } else if less(a, b) {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

fn less(a: &str, b: &str) -> bool {
    let shared = a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y);
    let Some(((at, x), y)) = shared else {
        return a.chars().count() < b.chars().count();
    };
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x < y,
        (false, false) => {}
        (_, second_is_letter) => return second_is_letter,
    }
    // A zero inside a number that already has a digit counts as a digit of its value: 101 against 11.
    let inside_number = (x == '0' || y == '0')
        && a[..at]
            .chars()
            .rev()
            .take_while(char::is_ascii_digit)
            .any(|digit| digit != '0');
    let start = i64::from(inside_number);
    let (x_value, x_length) = leading_number(&a[at..], start);
    let (y_value, y_length) = leading_number(&b[at..], start);
    if x_value != y_value {
        return x_value < y_value;
    }
    if x_length != y_length {
        return x_length < y_length;
    }
    x < y
}

fn leading_number(text: &str, start: i64) -> (i64, usize) {
    text.bytes()
        .take_while(u8::is_ascii_digit)
        .fold((start, 0), |(value, length), digit| {
            (value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0')), length + 1)
        })
}

/// Sorts keys by [`natural_order`]: a merge sort of our own, since the standard one may panic on an order with cycles.
pub(crate) fn sort_keys<'a>(mut keys: Vec<&'a String>) -> Vec<&'a String> {
    // Letters alone are ordered as they come.
    let is_word = |key: &&String| key.bytes().all(|c| c.is_ascii_alphabetic());
    if keys.iter().all(is_word) && keys.is_sorted() {
        return keys;
    }
    // Without digits the order has no cycles, and any sort will do.
    if !keys.iter().any(|key| key.bytes().any(|c| c.is_ascii_digit())) {
        keys.sort_by(|a, b| natural_order(a, b));
        return keys;
    }
    let mut runs: Vec<Vec<&'a String>> = keys.into_iter().map(|key| vec![key]).collect();
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut rest = runs.into_iter();
        while let Some(left) = rest.next() {
            merged.push(match rest.next() {
                Some(right) => merge(left, right),
                None => left,
            });
        }
        runs = merged;
    }
    runs.pop().unwrap_or_default()
}

fn merge<'a>(left: Vec<&'a String>, right: Vec<&'a String>) -> Vec<&'a String> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        if less(r, l) {
            out.extend(right.next());
        } else {
            out.extend(left.next());
        }
    }
    out.extend(left);
    out.extend(right);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: &[&str]) {
        let keys: Vec<String> = expected.iter().rev().map(|k| (*k).to_owned()).collect();
        let sorted: Vec<&str> = sort_keys(keys.iter().collect())
            .into_iter()
            .map(String::as_str)
            .collect();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn letters_come_last_and_numbers_by_value() {
        check(&[
            "_x", "9", "10", "010", "A", "B", "a", "a-b", "a1b2", "a1b10", "a9", "a10", "ab", "b",
        ]);
    }

    #[test]
    fn a_zero_inside_a_number_is_one_of_its_digits() {
        check(&["a11", "a101", "a110"]);
    }

    #[test]
    fn a_cycle_in_the_order_does_not_break_the_sort() {
        let keys: Vec<String> = ["a1b", "a2", "a10b"].map(str::to_owned).to_vec();
        assert_eq!(sort_keys(keys.iter().collect()).len(), 3);
    }
}

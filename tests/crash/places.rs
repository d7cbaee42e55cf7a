//! A place at which the program can be made to die is of use only if a test has it die there.

use std::collections::BTreeSet;

use super::{cosigner, creation, matrix, published};

#[test]
fn every_place_that_is_declared_is_one_at_which_a_process_dies_in_a_test() {
    let source = include_str!("../../src/failpoint.rs");
    let (_, declared) = source.split_once("\nfail_points! {").expect("the list");
    let (declared, _) = declared.split_once("\n}").expect("the end of the list");
    let names = declared.lines().filter_map(|line| {
        let (_, name) = line.split_once(" = \"")?;
        name.strip_suffix("\",")
    });
    let declared: BTreeSet<&str> = names.collect();
    // The tests iterate over these lists, and each compares the last words of the process that died.
    let died_at = matrix::PLACES.iter().map(|(name, _)| *name);
    let died_at = died_at.chain(published::PLACES.iter().map(|(name, ..)| *name));
    let died_at = died_at.chain([creation::PLACE, cosigner::PLACE]);
    assert_eq!(declared, died_at.collect::<BTreeSet<&str>>());
    assert!(declared.len() > 15, "these cannot be all: {declared:?}");
}

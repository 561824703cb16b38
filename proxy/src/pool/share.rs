//! Dividing a process-wide limit among the workers.

/// What worker `index` of `workers` gets of `limit`: the shares add up to the limit and differ by one at most.
pub fn of(limit: usize, index: usize, workers: usize) -> usize {
    limit / workers + usize::from(index < limit % workers)
}

#[cfg(test)]
mod tests {
    #[test]
    fn shares_add_up_and_are_even() {
        for limit in 0..50 {
            for workers in 1..9 {
                let shares: Vec<_> = (0..workers)
                    .map(|index| super::of(limit, index, workers))
                    .collect();
                assert_eq!(shares.iter().sum::<usize>(), limit);
                let (least, most) = (shares.iter().min(), shares.iter().max());
                assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
            }
        }
    }
}

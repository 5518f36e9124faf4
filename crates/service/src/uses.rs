//! When something was last used: noted by requests, saved by a job.
//!
//! A request pays one relaxed load, and once a second for each thing that is used a store beside it. What has been used
//! since the last saving stands in a list that owns it, so it is saved even where a cache has let go of it meanwhile. Uses
//! of the last [`SAVE_PERIOD`] are in memory alone: a crash loses them, an orderly stop saves them.

use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Seconds between two savings.
pub(crate) const SAVE_PERIOD: u64 = 60;
/// So many that wait are saved before their time: caches that are too small would make the list long.
const CROWD: usize = 50_000;
/// So many are saved in one transaction, which nothing else can be written beside: some 0.1 s.
pub(crate) const AT_ONCE: usize = 10_000;

/// The last use of one thing.
pub(crate) struct LastUse<K> {
    id: K,
    /// Unix time, seconds; 0 = no use is known here.
    last: AtomicU64,
    /// It stands in the list.
    listed: AtomicBool,
}

impl<K> LastUse<K> {
    pub fn new(id: K, known: u64) -> Arc<Self> {
        Arc::new(LastUse { id, last: AtomicU64::new(known), listed: AtomicBool::new(false) })
    }

    /// Unix time of the last use, seconds, as far as it is known here.
    pub fn at(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

/// The uses of one kind of thing that have not been saved.
pub(crate) struct Uses<K> {
    list: Mutex<Vec<Arc<LastUse<K>>>>,
    /// When they were last taken.
    taken: AtomicU64,
}

impl<K> Default for Uses<K> {
    fn default() -> Self {
        Uses { list: Mutex::default(), taken: AtomicU64::new(0) }
    }
}

impl<K: Clone + PartialEq> Uses<K> {
    /// Notes a use. The time never moves back.
    pub fn touch(&self, of: &Arc<LastUse<K>>, now: u64) {
        if of.last.load(Ordering::Relaxed) < now {
            self.note(of, now);
        }
    }

    #[cold]
    fn note(&self, of: &Arc<LastUse<K>>, now: u64) {
        // In this order, and taken in the other: whoever finds it listed still is in time to be saved.
        of.last.fetch_max(now, Ordering::AcqRel);
        self.list_it(of);
    }

    fn list_it(&self, of: &Arc<LastUse<K>>) {
        if !of.listed.swap(true, Ordering::AcqRel) {
            self.list.lock().push(of.clone());
        }
    }

    /// Takes what is to be saved, when it is time for it.
    pub fn due(&self, now: u64) -> Unsaved<K> {
        let recently = now.abs_diff(self.taken.load(Ordering::Relaxed)) < SAVE_PERIOD;
        if recently && self.list.lock().len() < CROWD {
            return Unsaved(Vec::new());
        }
        self.take(now)
    }

    /// Takes what is to be saved, whatever the time.
    pub fn take(&self, now: u64) -> Unsaved<K> {
        let list = std::mem::take(&mut *self.list.lock());
        if !list.is_empty() {
            self.taken.store(now, Ordering::Relaxed);
        }
        // Before any of the times is read: a use from now on is listed anew.
        for of in &list {
            of.listed.swap(false, Ordering::AcqRel);
        }
        Unsaved(list)
    }

    /// What could not be saved waits for the next time.
    pub fn put_back(&self, unsaved: &Unsaved<K>) {
        unsaved.0.iter().for_each(|of| self.list_it(of));
    }

    /// The last use of a thing that waits to be saved; 0 for none.
    pub fn waiting(&self, id: &K) -> u64 {
        self.list.lock().iter().filter(|of| of.id == *id).map(|of| of.at()).max().unwrap_or_default()
    }
}

/// Uses that have been taken to be saved.
pub(crate) struct Unsaved<K>(Vec<Arc<LastUse<K>>>);

impl<K: Clone> Unsaved<K> {
    /// What to save, a transaction's worth each.
    pub fn batches(&self) -> impl Iterator<Item = Vec<(K, u64)>> {
        let one = |of: &Arc<LastUse<K>>| (of.id.clone(), of.last.load(Ordering::Acquire));
        self.0.chunks(AT_ONCE).map(move |chunk| chunk.iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(unsaved: &Unsaved<u32>) -> Vec<(u32, u64)> {
        unsaved.batches().flatten().collect()
    }

    #[test]
    fn uses_are_taken_once_a_period_and_never_move_back() {
        let uses = Uses::default();
        let (a, b) = (LastUse::new(1, 0), LastUse::new(2, 500));
        for now in [1_000, 1_005, 1_003] {
            uses.touch(&a, now);
        }
        uses.touch(&b, 400);
        assert_eq!((a.at(), b.at()), (1_005, 500), "time never moves back");
        assert_eq!(uses.waiting(&1), 1_005);
        assert_eq!(saved(&uses.due(1_006)), [(1, 1_005)], "what has not moved is not written");
        uses.touch(&b, 1_010);
        assert!(saved(&uses.due(1_010)).is_empty(), "not again so soon");
        assert_eq!(saved(&uses.due(1_066)), [(2, 1_010)]);
        assert!(saved(&uses.take(2_000)).is_empty());
    }

    #[test]
    fn what_is_forgotten_elsewhere_or_not_written_is_saved_all_the_same() {
        let uses = Uses::default();
        uses.touch(&LastUse::new(1, 0), 1_000);
        let unsaved = uses.take(1_000);
        assert_eq!(saved(&unsaved), [(1, 1_000)], "nobody else has it any more");
        uses.put_back(&unsaved);
        assert_eq!(saved(&uses.take(1_001)), [(1, 1_000)]);
        let many = 2 * u32::try_from(AT_ONCE).unwrap();
        (0..many).for_each(|n| uses.touch(&LastUse::new(n, 0), 1_002));
        let unsaved = uses.take(1_002);
        assert_eq!(unsaved.batches().next().unwrap().len(), AT_ONCE, "the first of two, which fails");
        uses.put_back(&unsaved);
        assert_eq!(saved(&uses.take(1_003)).len(), many as usize);
    }

    #[test]
    fn many_do_not_wait_for_their_time() {
        let uses = Uses::default();
        uses.touch(&LastUse::new(0, 0), 1_000);
        assert_eq!(saved(&uses.due(1_000)).len(), 1);
        let many = u32::try_from(CROWD).unwrap();
        (0..many).for_each(|n| uses.touch(&LastUse::new(n, 0), 1_001));
        let unsaved = uses.due(1_001);
        assert_eq!(unsaved.batches().map(|b| b.len()).collect::<Vec<_>>(), vec![AT_ONCE; CROWD / AT_ONCE]);
    }

    /// Whatever races, the last use of all is saved in the end.
    #[test]
    fn no_use_is_lost_between_noting_and_taking() {
        let uses = Uses::default();
        let thing = LastUse::new(7, 0);
        let mut seen = 0;
        std::thread::scope(|scope| {
            let user = scope.spawn(|| (1..=200_000).for_each(|now| uses.touch(&thing, now)));
            while !user.is_finished() {
                seen = saved(&uses.take(0)).last().map_or(seen, |(_, at)| *at);
            }
        });
        seen = saved(&uses.take(0)).last().map_or(seen, |(_, at)| *at);
        assert_eq!(seen, 200_000);
    }
}

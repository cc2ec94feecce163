//! Who gets a place among the people that a rule knows, when all places are taken.
//!
//! Kinds that learn what is usual for everybody have no threshold that an estimate could reach: of somebody who is not
//! remembered nothing can be said. What must not happen is that a flood of strangers takes the place of those who are
//! known, or keeps it for months. So a newcomer is counted in a [`Sketch`], and gets a place only when he came more often than
//! somebody who has one. Strangers seen once or twice wait outside; whoever comes back gets in.

use serde::{Deserialize, Serialize};

use super::sketch::Sketch;
use super::{Pressure, Seen};
use crate::model::{Span, Timestamp};

/// At the door of a rule whose places are taken; nothing before that.
#[derive(Default, Serialize, Deserialize)]
pub struct Door(Option<Box<Crowd>>);

#[derive(Serialize, Deserialize)]
struct Crowd {
    sketch: Sketch,
    floor: u32,
    looked: Timestamp,
    since: Timestamp,
    told: bool,
    source: u16,
}

/// Where a newcomer goes.
pub enum Place {
    Free,
    None,
    /// These leave first: the weakest, all weaker than he is.
    Of(Vec<u64>),
}

/// More visits are not told apart.
pub const VISITS_MAX: u32 = 199;
const VISITS_MIN: u32 = 2;
const WINDOW: Span = Span::from_secs(86_400);
/// How long who was weak is taken to be strong.
const LOOK_AGAIN: Span = Span::from_secs(3600);

impl Door {
    /// A newcomer comes while `people` have places, of which there are `most`. `bytes`: what may be spent on counting those
    /// outside. `all`: how often each who has a place came, with his key.
    pub fn knock(
        &mut self,
        seen: &Seen<'_>,
        people: usize,
        most: usize,
        bytes: usize,
        all: impl FnOnce() -> Vec<(u32, u64)>,
    ) -> Place {
        let now = seen.hit.release;
        if people < most {
            if self.0.as_ref().is_some_and(|it| it.sketch.is_over(now)) {
                self.0 = None;
            }
            return Place::Free;
        }
        let crowd = self.0.get_or_insert_with(|| {
            let sketch = Sketch::new(bytes, VISITS_MAX, WINDOW, now);
            Box::new(Crowd {
                sketch,
                floor: 0,
                looked: Timestamp::MIN,
                since: now,
                told: false,
                source: seen.hit.source,
            })
        });
        crowd.sketch.turn(now);
        crowd.sketch.add(seen.hit.entity_hash, 1, now);
        let visits = crowd.sketch.estimate(seen.hit.entity_hash).min(VISITS_MAX);
        let looked = crowd.looked != Timestamp::MIN && now.since(crowd.looked) < LOOK_AGAIN;
        if visits < VISITS_MIN || looked && visits <= crowd.floor {
            return Place::None;
        }
        let mut weakest = all();
        weakest.sort_unstable();
        crowd.looked = now;
        let leave = weakest.iter().take((most / 8).max(1)).take_while(|it| it.0 < visits).count();
        crowd.floor = weakest.get(leave).map_or(visits, |it| it.0);
        if leave == 0 {
            return Place::None;
        }
        weakest[..leave].iter().for_each(|it| crowd.sketch.owe(it.1, it.0, now));
        Place::Of(weakest[..leave].iter().map(|it| it.1).collect())
    }

    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |it| it.sketch.bytes())
    }

    pub fn is_strained(&self) -> bool {
        self.0.is_some()
    }

    /// That there are too many, once.
    pub fn pressure(&mut self, now: Timestamp) -> Option<Pressure> {
        let crowd = self.0.as_mut().filter(|it| !it.told && now.since(it.since) >= Pressure::FIRST)?;
        crowd.told = true;
        Some(Pressure { since: crowd.since, sources: vec![(crowd.source, 1)] })
    }
}

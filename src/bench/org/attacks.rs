//! What is done to them, each with its label.

use super::super::Random;
use super::people::Person;
use super::world::{Place, World};
use super::{DAY, Event, Label, QUIET_DAYS, START, What};

/// Each kind comes so often, at least once.
const PER_WEEK: u64 = 2;

type Attack = fn(&mut Random, &[Person], i64, &mut Vec<Event>) -> Label;

pub const KINDS: [Attack; 8] =
    [guessing, guessed, spray, slow_spray, takeover_abroad, takeover_hosting, exfiltration, admin_at_night];

pub fn commit(random: &mut Random, people: &[Person], days: u32, events: &mut Vec<Event>) -> Vec<Label> {
    let open = u64::from(days.saturating_sub(QUIET_DAYS + 1)).max(1);
    let mut labels = Vec::new();
    for attack in KINDS {
        for _ in 0..(open * PER_WEEK / 7).max(1) {
            let day = u64::from(QUIET_DAYS) + random.below(open);
            let time = START + day as i64 * DAY + random.below(DAY as u64 - 7200) as i64;
            labels.push(attack(random, people, time, events));
        }
    }
    labels.sort_by_key(|it| it.start);
    labels
}

fn event(person: &Person, time: i64, what: What, place: &Place) -> Event {
    Event { time, tenant: person.tenant, user: person.name.clone(), what, place: place.clone(), device: None }
}

fn label(attack: &'static str, start: i64, end: i64, keys: &[&str]) -> Label {
    Label { attack, start, end, keys: keys.iter().map(|it| it.to_string()).collect() }
}

fn guessing(random: &mut Random, people: &[Person], start: i64, events: &mut Vec<Event>) -> Label {
    let (victim, place) = (random.one_of(people), World::far(random));
    let attempts = 20 + random.below(60) as i64;
    events.extend((0..attempts).map(|it| event(victim, start + it * 7, What::Failure, &place)));
    label("guessing", start, start + attempts * 7, &[&victim.name, &place.address])
}

fn guessed(random: &mut Random, people: &[Person], start: i64, events: &mut Vec<Event>) -> Label {
    let (victim, place) = (random.one_of(people), World::hosting(random));
    events.extend((0..12).map(|it| event(victim, start + it * 20, What::Failure, &place)));
    events.push(event(victim, start + 260, What::Login, &place));
    label("guessed", start, start + 260, &[&victim.name, &place.address])
}

/// One password on many, in minutes.
fn spray(random: &mut Random, people: &[Person], start: i64, events: &mut Vec<Event>) -> Label {
    spread("spray", random, people, start, 25, events)
}

/// The same over a day, below every window of minutes.
fn slow_spray(random: &mut Random, people: &[Person], start: i64, events: &mut Vec<Event>) -> Label {
    spread("slow spray", random, people, start, 900, events)
}

fn spread(
    attack: &'static str,
    random: &mut Random,
    people: &[Person],
    start: i64,
    every: i64,
    events: &mut Vec<Event>,
) -> Label {
    let (place, first) = (World::hosting(random), random.below(people.len() as u64) as usize);
    let victims = people.iter().cycle().skip(first).take(people.len().min(40));
    let mut end = start;
    for (number, victim) in victims.enumerate() {
        end = start + number as i64 * every;
        events.push(event(victim, end, What::Failure, &place));
    }
    label(attack, start, end, &[&place.address])
}

/// While the owner works, from where nobody travels so fast.
fn takeover_abroad(random: &mut Random, people: &[Person], start: i64, events: &mut Vec<Event>) -> Label {
    let place = World::far(random);
    taken_over("takeover abroad", random, people, start, &place, events)
}

fn takeover_hosting(random: &mut Random, people: &[Person], start: i64, events: &mut Vec<Event>) -> Label {
    let place = World::hosting(random);
    taken_over("takeover by hosting", random, people, start, &place, events)
}

fn taken_over(
    attack: &'static str,
    random: &mut Random,
    people: &[Person],
    start: i64,
    place: &Place,
    events: &mut Vec<Event>,
) -> Label {
    let victim = random.one_of(people);
    // Close to something that the victim did that day, if there is anything.
    let mine = |it: &&Event| it.user == victim.name && it.what == What::Login && (it.time - start).abs() < 2 * DAY;
    let start = events.iter().find(mine).map_or(start, |it| it.time + 600);
    let device = (random.unit() < 0.8).then(|| format!("unknown-{}", random.below(1 << 32)));
    for step in 0..4 {
        let what = if step % 2 == 0 { What::Login } else { What::Read };
        events.push(Event { device: device.clone(), ..event(victim, start + step * 300, what, place) });
    }
    label(attack, start, start + 900, &[&victim.name, &place.address])
}

/// By somebody inside, from where they always are.
fn exfiltration(random: &mut Random, people: &[Person], start: i64, events: &mut Vec<Event>) -> Label {
    let thief = random.one_of(people);
    let own = events.iter().find(|it| it.user == thief.name).map(|it| it.place.clone());
    let place = own.unwrap_or_else(|| World::home(random, thief.city));
    for step in 0..30 {
        let mut download = event(thief, start + step * 100, What::Download(60_000_000), &place);
        download.device = thief.device();
        events.push(download);
    }
    label("exfiltration", start, start + 3000, &[&thief.name])
}

fn admin_at_night(random: &mut Random, people: &[Person], start: i64, events: &mut Vec<Event>) -> Label {
    let admins: Vec<&Person> = people.iter().filter(|it| it.admin).collect();
    let admin = admins.get(random.below(admins.len().max(1) as u64) as usize).copied().unwrap_or(&people[0]);
    let own = events.iter().find(|it| it.user == admin.name).map(|it| it.place.clone());
    let place = own.unwrap_or_else(|| World::home(random, admin.city));
    let midnight = (start - START) / DAY * DAY + START - admin.city.3 * 3600;
    let at = midnight + 3 * 3600 + random.below(3600) as i64;
    for step in 0..3 {
        let mut change = event(admin, at + step * 120, What::Admin, &place);
        change.device = admin.device();
        events.push(change);
    }
    label("admin at night", at, at + 240, &[&admin.name])
}

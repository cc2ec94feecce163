//! Stages 2 to 7 as plain objects: [`Front`] (lines to hits), [`Shard`] (hits to findings), [`Desk`]
//! (findings to alerts), and the [`Engine`] that puts the last two behind the clocks of the sources.
//!
//! No thread, no I/O and no clock lives here. A replay, the service, a story and a test drive the very same objects.

pub mod doctor;
pub mod front;
pub mod order;
pub mod own;
pub mod poison;
pub mod pressure;
pub mod rules;
pub mod save;
pub mod shard;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

pub use front::{Counts, Front, Judged, Read, Reader, Reading, Rejected};
pub use rules::{CompileError, EVERY_VALUE, RuleSet, Wanted};
pub use shard::{Found, Shard, Step};

use crate::alert::Desk;
use crate::detect::Detect;
use crate::detect::risk::{Ledger, Origin};
use crate::limits;
use crate::model::{Alert, Finding, HashKeys, HitBatch, RuleIndex, Severity, Span, State, Timestamp};
use order::SourceClock;
use poison::Stumbled;
use pressure::{Shares, Watch};

/// Hits to alerts: the deterministic half. Fed the same batches in any interleaving of sources and cut in any way, it
/// tells the same alerts in the same order.
pub struct Engine {
    keys: HashKeys,
    set: Arc<RuleSet>,
    sources: Arc<Vec<Arc<str>>>,
    clocks: Vec<SourceClock>,
    closed: Vec<bool>,
    /// Empty while they are away.
    shards: Vec<Shard>,
    away: Option<Box<dyn Away>>,
    desk: Desk,
    now: Timestamp,
    /// The latest time of which somebody said that it has passed.
    passed: Timestamp,
    /// The latest time that was let pass, short of the end of everything.
    told_time: Timestamp,
    ready: Vec<HitBatch>,
    /// Batches in the hands of shards, to be filled again when they are done with them.
    lent: VecDeque<Arc<HitBatch>>,
    /// Batches with hits that wait.
    waiting: VecDeque<Waits>,
    memory: u64,
    shares: Shares,
    watch: Watch,
    /// How often hits could not wait for their time.
    hurried: u64,
    found: Found,
    pub counts: Counts,
    /// How often each rule in the shadow would have told.
    shadowed: BTreeMap<String, u64>,
    hits_by_rule: Vec<u64>,
    findings_by_rule: Vec<u64>,
    /// For each rule that judges findings, what it knows.
    ledgers: Vec<Ledger>,
    kept_back: u64,
    /// What promises had no room for, where somebody wants to see it.
    suppressed: Option<Vec<Finding>>,
    /// How often each rule stumbled, and when somebody last heard of it.
    stumbles: BTreeMap<RuleIndex, (u64, Timestamp)>,
}

/// What is known of a batch that shards hold until its time has come.
struct Waits {
    source: u16,
    /// The latest release time in it.
    release: Timestamp,
    bytes: usize,
}

impl Waits {
    /// None: there are no hits in it.
    fn of(batch: &HitBatch) -> Option<Waits> {
        let latest = batch.events.iter().max_by_key(|it| it.release)?;
        Some(Waits { source: latest.source, release: latest.release, bytes: batch.bytes() })
    }
}

/// How long after an alert about a rule that stumbled nobody hears of that rule again.
const STUMBLES_TOLD_EVERY: Span = Span::from_secs(600);
/// How long memories are kept for a source that is behind: longer, and a slow clock would keep them for ever.
const CATCHES_UP: Span = Span::from_secs(120);

/// Shards that work elsewhere: in threads, which are none of an engine's business.
pub trait Away {
    /// Gives every shard a step. Waits when too many are under way.
    fn send(&mut self, step: Step);
    /// What all shards found in the first step that was not taken yet, and its time. None when it is not there yet, or
    /// with `Wait::Never` would have to be waited for.
    fn take(&mut self, wait: Wait) -> Option<(Timestamp, Found)>;
    /// The shards, in their order, when every step was taken.
    fn end(self: Box<Self>) -> Vec<Shard>;
}

/// Whether somebody has the time to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    Never,
    /// Until it is there; there is nothing to wait for when all was taken.
    Always,
}

impl Engine {
    /// An engine that remembers nothing. `shards` is at least 1; the number changes nothing but who does the work.
    pub fn new(set: Arc<RuleSet>, keys: HashKeys, shards: usize) -> Engine {
        let memory = limits::MEMORY_BYTES_MAX;
        let mut engine = Engine {
            keys,
            waiting: VecDeque::new(),
            memory,
            shares: Shares::of(memory, &set),
            watch: Watch::default(),
            hurried: 0,
            sources: Arc::default(),
            clocks: Vec::new(),
            closed: Vec::new(),
            shards: (0..shards.clamp(1, limits::PARTITIONS)).map(|_| Shard::new(set.clone(), keys)).collect(),
            desk: Desk::new(set.cards.clone()),
            now: Timestamp::MIN,
            passed: Timestamp::MIN,
            told_time: Timestamp::MIN,
            away: None,
            ready: Vec::new(),
            lent: VecDeque::new(),
            found: Found::default(),
            counts: Counts::default(),
            shadowed: BTreeMap::new(),
            hits_by_rule: vec![0; set.rules.len()],
            findings_by_rule: vec![0; set.rules.len()],
            ledgers: ledgers(&set, keys),
            kept_back: 0,
            suppressed: None,
            stumbles: BTreeMap::new(),
            set,
        };
        engine.limit(memory);
        engine
    }

    /// The memory of the whole process, which all that the engine remembers must fit in.
    pub fn limit(&mut self, memory: u64) {
        self.memory = memory;
        self.shares = Shares::of(memory, &self.set);
        self.shards.iter_mut().for_each(|it| it.limit(&self.shares));
        self.ledgers.iter_mut().for_each(|it| it.limit(self.shares.rules[it.rule().index()]));
        self.desk.limit(self.shares.open);
    }

    /// Registers a source; its number goes into every batch of it. The number of a closed source of the same name is used
    /// again, so that connections that come and go do not add up.
    pub fn add_source(&mut self, name: &str, lateness: Span) -> u16 {
        let again = (0..self.sources.len()).find(|it| self.closed[*it] && *self.sources[*it] == *name);
        let free = again.or_else(|| {
            (self.sources.len() >= limits::SOURCES_MAX).then(|| self.closed.iter().position(|it| *it)).flatten()
        });
        let number = free.unwrap_or(self.sources.len());
        let sources = Arc::make_mut(&mut self.sources);
        if number == sources.len() {
            sources.push(name.into());
            self.clocks.push(SourceClock::new(lateness));
            self.closed.push(false);
        }
        sources[number] = name.into();
        self.clocks[number] = SourceClock::new(lateness);
        self.closed[number] = false;
        number as u16
    }

    /// Takes in what a front made of a batch; appends the alerts that change state.
    pub fn observe(&mut self, judged: &mut Judged, told: &mut Vec<Alert>) {
        self.counts.add(&judged.counts);
        let mut spare = None;
        while self.lent.front().is_some_and(|it| Arc::strong_count(it) == 1) {
            spare = self.lent.pop_front().and_then(Arc::into_inner);
        }
        let batch = std::mem::replace(&mut judged.batch, spare.unwrap_or_default());
        let track = std::mem::take(&mut judged.track);
        self.clocks[usize::from(judged.source)].observe(batch, track, &mut self.ready);
        self.advance(told);
    }

    /// The source has been idle for at least its lateness: what it said is complete, until it speaks again.
    pub fn source_is_idle(&mut self, source: u16, told: &mut Vec<Alert>) {
        self.clocks[usize::from(source)].idle(&mut self.ready);
        self.advance(told);
    }

    /// The source has ended and will not speak again.
    pub fn end_source(&mut self, source: u16, told: &mut Vec<Alert>) {
        self.clocks[usize::from(source)].finish(&mut self.ready);
        self.closed[usize::from(source)] = true;
        self.advance(told);
    }

    /// Lets time pass to `now` although nothing was said: open alerts resolve.
    pub fn pass_time(&mut self, now: Timestamp, told: &mut Vec<Alert>) {
        self.now = self.now.max(now);
        self.passed = self.passed.max(now);
        self.advance(told);
    }

    /// The end of all input: nothing waits any longer, and what is open resolves at its time.
    pub fn finish(&mut self, told: &mut Vec<Alert>) {
        for clock in &mut self.clocks {
            clock.finish(&mut self.ready);
        }
        self.closed.fill(true);
        self.now = Timestamp::MAX;
        self.advance(told);
        self.come_home(told);
    }

    /// Lets the shards work elsewhere from now on, until [`Engine::finish`]. Alerts then come out later, but the same and in the same order.
    pub fn send_away(&mut self, start: impl FnOnce(Vec<Shard>) -> Box<dyn Away>) {
        self.away = Some(start(std::mem::take(&mut self.shards)));
    }

    fn come_home(&mut self, told: &mut Vec<Alert>) {
        if let Some(mut away) = self.away.take() {
            while let Some((now, mut found)) = away.take(Wait::Always) {
                self.conclude(now, &mut found, told);
            }
            self.shards = away.end();
        }
    }

    /// Somebody said stop: what waits for its time is judged now, but what is open stays open.
    pub fn flush(&mut self, told: &mut Vec<Alert>) {
        for clock in &mut self.clocks {
            clock.idle(&mut self.ready);
        }
        self.advance(told);
    }

    /// New rules, from the next batch on. A rule that did not change keeps its memory and its open alerts; one that is gone
    /// or did change begins anew, and its open alerts resolve. The result is how many kept their memory.
    pub fn adopt(&mut self, set: Arc<RuleSet>, told: &mut Vec<Alert>) -> usize {
        self.flush(told);
        let old: HashMap<&str, usize> =
            self.set.rules.iter().enumerate().map(|(index, it)| (it.rule.id.as_str(), index)).collect();
        let kept: Vec<Option<usize>> = set
            .rules
            .iter()
            .map(|it| {
                old.get(it.rule.id.as_str())
                    .copied()
                    .filter(|old| self.set.rules[*old].fingerprint() == it.fingerprint())
            })
            .collect();
        for shard in &mut self.shards {
            shard.adopt(set.clone(), &kept);
        }
        let first = told.len();
        self.waiting.clear();
        let mut numbers = vec![None; self.set.rules.len()];
        kept.iter().enumerate().for_each(|(new, old)| old.iter().for_each(|old| numbers[*old] = Some(new)));
        self.watch = std::mem::take(&mut self.watch).renumbered(&numbers);
        self.desk.adopt(set.cards.clone(), &kept, told);
        self.keep_to_oneself(first, told);
        let carry = |old: &[u64]| kept.iter().map(|it| it.map_or(0, |it| old[it])).collect::<Vec<_>>();
        (self.hits_by_rule, self.findings_by_rule) = (carry(&self.hits_by_rule), carry(&self.findings_by_rule));
        let mut old = std::mem::replace(&mut self.ledgers, ledgers(&set, self.keys));
        for ledger in &mut self.ledgers {
            let before = kept[ledger.rule().index()];
            if let Some(at) = before.and_then(|it| old.iter().position(|old| old.rule().index() == it)) {
                let number = ledger.rule();
                *ledger = old.swap_remove(at);
                ledger.renumber(number);
            }
        }
        self.set = set;
        self.stumbles.clear();
        self.limit(self.memory);
        kept.iter().flatten().count()
    }

    /// The rules in force, as journals name them.
    pub fn rule_names(&self) -> Vec<save::RuleName> {
        self.set.names()
    }

    /// For rules as a journal names them, their numbers among those in force.
    pub fn rule_numbers(&self, names: &[save::RuleName]) -> Vec<Option<crate::model::RuleIndex>> {
        self.set.numbers_of(names)
    }

    /// The newest believed time of a source.
    pub fn newest(&self, source: u16) -> Option<Timestamp> {
        self.clocks[usize::from(source)].newest()
    }

    /// The wall clock when the latest lines of a source came, if they came live.
    pub fn heard(&self, source: u16) -> Option<Timestamp> {
        self.clocks[usize::from(source)].heard()
    }

    pub fn knows_source(&self, source: u16) -> bool {
        usize::from(source) < self.sources.len()
    }

    /// How long a source's lines wait for each other.
    pub fn lateness(&self, source: u16) -> Span {
        self.clocks[usize::from(source)].lateness()
    }

    pub fn source_name(&self, source: u16) -> &str {
        &self.sources[usize::from(source)]
    }

    pub fn stats(&self) -> Stats {
        let (opened, folded) = self.desk.counts();
        Stats {
            counts: self.counts,
            hits: self.hits_by_rule.iter().sum(),
            findings: self.findings_by_rule.iter().sum(),
            opened,
            folded,
            late: self.clocks.iter().map(|it| it.late).sum(),
            latest: self.clocks.iter().map(|it| it.latest).max().unwrap_or_default(),
            suspect: self.clocks.iter().map(|it| it.suspect).sum(),
            unlisted: self.desk.unlisted(),
            cut_short: self.desk.cut_short(),
            hurried: self.hurried,
            kept_back: self.kept_back,
            entities: self.shards.iter().map(Shard::entities).sum(),
        }
    }

    /// From now on, what promises have no room for is kept for [`Engine::suppressed`].
    pub fn keep_suppressed(&mut self) {
        self.suppressed = Some(Vec::new());
    }

    /// What promises had no room for since the last call: the rule's id and what it found.
    pub fn suppressed(&mut self) -> impl Iterator<Item = (&str, Finding)> {
        let set = &self.set;
        let findings = self.suppressed.as_mut().map(std::mem::take).unwrap_or_default();
        findings.into_iter().map(|it| (set.rules[it.rule.index()].rule.id.as_str(), it))
    }

    /// For each rule in order of id: how many hits and findings it had.
    pub fn by_rule(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        let counts = self.hits_by_rule.iter().zip(&self.findings_by_rule);
        self.set.rules.iter().zip(counts).map(|(rule, (hits, found))| (rule.rule.id.as_str(), *hits, *found))
    }

    fn advance(&mut self, told: &mut Vec<Alert>) {
        let step = self.next_step();
        if let Some(mut away) = self.away.take() {
            away.send(step);
            while let Some((now, mut found)) = away.take(Wait::Never) {
                self.conclude(now, &mut found, told);
            }
            self.away = Some(away);
            return;
        }
        let mut found = std::mem::take(&mut self.found);
        let shards = self.shards.len();
        self.shards.iter_mut().enumerate().for_each(|(number, it)| it.take(&step, number, shards, &mut found));
        self.conclude(step.now, &mut found, told);
        self.found = found;
    }

    /// What shards are told next: the hits that have their times, and how late it is.
    fn next_step(&mut self) -> Step {
        let mut batches = Vec::new();
        for batch in self.ready.drain(..).filter(|it| !it.hits.is_empty()) {
            batch.hits.iter().for_each(|it| self.hits_by_rule[it.rule.index()] += 1);
            self.waiting.extend(Waits::of(&batch));
            let batch = Arc::new(batch);
            self.lent.push_back(batch.clone());
            batches.push(batch);
        }
        self.now = self.now.max(self.watermark());
        self.hurry();
        let end = match self.now {
            Timestamp::MAX => {
                self.clocks.iter().filter_map(SourceClock::newest).max().unwrap_or(Timestamp::MIN).max(self.told_time)
            }
            now => now,
        };
        self.told_time = self.told_time.max(end);
        // A line of the watermark's very time may still be in the next batch, and must find nothing lapsed that it prevents.
        let until = match self.now {
            Timestamp::MAX => end,
            _ => self.passed.max(Timestamp::from_micros(self.watermark().micros().saturating_sub(1))),
        };
        let held = self.held();
        // What a source that catches up still has to say is judged by what was known then. How late it is goes by what
        // sources say: the wall clock may be ahead of theirs.
        let said = self.clocks.iter().map(SourceClock::watermark).max().unwrap_or(self.now);
        let slowest = held.iter().copied().min().unwrap_or(said);
        let forget = slowest.max(said.minus(CATCHES_UP)).min(said).min(self.now);
        Step { batches, now: self.now, until, forget, held, sources: self.sources.clone() }
    }

    /// What the shards found in a step goes to the desk.
    fn conclude(&mut self, now: Timestamp, found: &mut Found, told: &mut Vec<Alert>) {
        let first = told.len();
        if found.findings.len() > 1 {
            found.findings.sort_by(|a, b| finding_order(a).cmp(&finding_order(b)));
        }
        self.watch.note(&mut found.pressures);
        let mut own = self.watch.look(&self.set, &self.sources, &self.shares, now).into_iter().peekable();
        self.told_of_stumbles(&mut found.stumbled, now, told);
        for finding in found.findings.drain(..) {
            while let Some(alert) = own.next_if(|it| it.opened_at <= finding.release) {
                self.desk.advance(alert.opened_at, told);
                told.push(alert);
            }
            let risks: Vec<Finding> = match self.ledgers.is_empty() {
                true => Vec::new(),
                false => {
                    let origin = origin(&self.set, finding.rule);
                    self.ledgers.iter_mut().filter_map(|it| it.observe(&finding, &origin, &self.sources)).collect()
                }
            };
            for finding in std::iter::once(finding).chain(risks) {
                let rule = finding.rule;
                if poison::attempt(|| self.tell(finding, told)).is_none() {
                    found.stumbled.push(Stumbled { rule, line: None });
                }
            }
        }
        for alert in own {
            self.desk.advance(alert.opened_at, told);
            told.push(alert);
        }
        for ledger in &mut self.ledgers {
            let pressure = ledger.pressure(now);
            found.pressures.extend(pressure.map(|it| (ledger.rule().index(), it)));
        }
        self.watch.note(&mut found.pressures);
        self.desk.advance(now, told);
        self.keep_to_oneself(first, told);
    }

    /// A rule that cannot judge something must not do so in silence.
    fn told_of_stumbles(&mut self, stumbled: &mut Vec<Stumbled>, now: Timestamp, told: &mut Vec<Alert>) {
        for Stumbled { rule, line } in stumbled.drain(..) {
            let (count, last) = self.stumbles.entry(rule).or_insert((0, Timestamp::MIN));
            *count += 1;
            if *count > 1 && now.since(*last) < STUMBLES_TOLD_EVERY {
                continue;
            }
            *last = now;
            let id = &self.set.rules[rule.index()].rule.id;
            let text = match line {
                Some((source, line)) => format!(
                    "a mistake of ours: `{id}` cannot judge line {line} of `{}`, which was left out for it",
                    self.sources[usize::from(source)]
                ),
                None => {
                    format!("a mistake of ours: `{id}` stumbled as time passed, and may have forgotten what it knew")
                }
            };
            // At the end of all input time is no time.
            told.push(own::alert(
                "poison",
                Severity::High,
                &text,
                if now == Timestamp::MAX { self.told_time } else { now },
            ));
            if line.is_none() {
                self.limit(self.memory);
            }
        }
    }

    /// For each rule that stumbled, how often.
    pub fn stumbles(&self) -> impl Iterator<Item = (&str, u64)> {
        self.stumbles.iter().map(|(rule, it)| (self.set.rules[rule.index()].rule.id.as_str(), it.0))
    }

    /// Takes out what rules in the shadow say, and counts it. The desk knows nothing of shadows: what a rule would have told
    /// is what it would have told, folded and resolved.
    fn keep_to_oneself(&mut self, first: usize, told: &mut Vec<Alert>) {
        let shadows = |id: &str| self.set.rules.iter().any(|it| it.rule.shadow && it.rule.id == id);
        if told.len() == first || !self.set.rules.iter().any(|it| it.rule.shadow) {
            return;
        }
        for alert in told.split_off(first) {
            if !shadows(&alert.rule.id) {
                told.push(alert);
            } else if alert.state == State::Firing {
                *self.shadowed.entry(alert.rule.id).or_default() += 1;
            }
        }
    }

    /// For each rule in the shadow that would have told, how many alerts.
    pub fn shadowed(&self) -> impl Iterator<Item = (&str, u64)> {
        self.shadowed.iter().map(|(rule, it)| (rule.as_str(), *it))
    }

    /// When too much waits, the earliest batches wait no longer: lines before them that are still to come will be late.
    fn hurry(&mut self) {
        let held = self.held();
        let until = |source: u16| held.get(usize::from(source)).copied().unwrap_or(Timestamp::MAX).min(self.now);
        while self.waiting.front().is_some_and(|it| it.release <= until(it.source)) {
            self.waiting.pop_front();
        }
        let mut bytes: usize = self.waiting.iter().map(|it| it.bytes).sum();
        self.hurried += u64::from(bytes > self.shares.waiting);
        while bytes > self.shares.waiting
            && let Some(waits) = self.waiting.pop_front()
        {
            bytes -= waits.bytes;
            self.clocks[usize::from(waits.source)].hurry(waits.release);
            self.now = self.now.max(waits.release);
        }
    }

    /// For each rule in order of id: how many bytes it remembers, and whether it goes by estimates.
    pub fn memory_by_rule(&self) -> impl Iterator<Item = (&str, usize, bool)> {
        self.set.rules.iter().enumerate().map(|(number, rule)| {
            let ledger = || self.ledgers.iter().filter(|it| it.rule().index() == number);
            let bytes = self.shards.iter().map(|it| it.bytes(number)).chain(ledger().map(Ledger::bytes)).sum();
            let strained = self.shards.iter().any(|it| it.is_strained(number)) || ledger().any(Ledger::is_strained);
            (rule.rule.id.as_str(), bytes, strained)
        })
    }

    fn tell(&mut self, finding: Finding, told: &mut Vec<Alert>) {
        if finding.kept_back {
            self.kept_back += 1;
            if let Some(suppressed) = &mut self.suppressed {
                suppressed.push(finding);
            }
            return;
        }
        self.findings_by_rule[finding.rule.index()] += 1;
        let now = finding.release;
        self.desk.observe(finding, &self.sources, told);
        let crowded = self.desk.crowded().map(|it| {
            let (id, bytes) = (&self.set.rules[it.index()].rule.id, self.shares.rules[it.index()]);
            pressure::tell_crowded(id, bytes, now)
        });
        told.extend(crowded);
    }

    /// A source that speaks and is behind the others, because it was away or its clock is slow, does not hold them up; but its
    /// own lines still wait for each other, or what it sends in one rush would be judged in the order of the rush. Empty:
    /// none is behind.
    fn held(&self) -> Vec<Timestamp> {
        let clocks = || self.clocks.iter().zip(&self.closed);
        let speaks = |(clock, closed): &(&SourceClock, &bool)| !**closed && !clock.is_idle();
        if !clocks().filter(speaks).any(|it| it.0.complete() < self.now) {
            return Vec::new();
        }
        clocks().map(|it| if speaks(&it) { it.0.complete() } else { Timestamp::MAX }).collect()
    }

    /// The smallest watermark of the sources that speak; when none does, the newest that any said.
    fn watermark(&self) -> Timestamp {
        let open = self.clocks.iter().zip(&self.closed).filter(|(clock, closed)| !**closed && !clock.is_idle());
        match open.map(|(clock, _)| clock.watermark()).min() {
            Some(watermark) => watermark,
            None => self.clocks.iter().filter_map(SourceClock::newest).max().unwrap_or(Timestamp::MIN),
        }
    }
}

fn ledgers(set: &RuleSet, keys: HashKeys) -> Vec<Ledger> {
    let ledger = |(number, it): (usize, &rules::Compiled)| match &it.rule.detect {
        Detect::Risk { half_life, false_alerts } => {
            let field = set.cards[number].by.first()?;
            Some(Ledger::new(RuleIndex(number as u16), field, *half_life, *false_alerts, it.rule.quiet, keys))
        }
        _ => None,
    };
    set.rules.iter().enumerate().filter_map(ledger).collect()
}

fn origin(set: &RuleSet, rule: RuleIndex) -> Origin<'_> {
    let card = &set.cards[rule.index()];
    // One login that is strange in three ways is one sign: what an attacker would be doing tells signs apart.
    let technique = card.tags.iter().find_map(|it| it.strip_prefix("attack.t"));
    let technique = technique.map(|it| it.split('.').next().unwrap_or(it));
    let kind = technique.or_else(|| card.tags.first().map(|it| it.as_str())).unwrap_or(&card.id);
    Origin { id: &card.id, severity: card.severity, kind, by: &card.by, compare: &card.compare }
}

/// What happened first comes first; what happened at once, in an order that depends on nothing but what it is.
fn finding_order(it: &Finding) -> (Timestamp, Timestamp, u16, u64, &str) {
    (it.release, it.time, it.rule.0, it.line_hash, it.entity())
}

/// Numbers of a run.
#[derive(Clone, Copy, Default, Debug)]
pub struct Stats {
    pub counts: Counts,
    pub hits: u64,
    pub findings: u64,
    /// Alerts opened.
    pub opened: u64,
    /// Findings that were added to an open alert.
    pub folded: u64,
    pub late: u64,
    /// How late the latest of them was.
    pub latest: Span,
    pub suspect: u64,
    /// Alerts that estimates would have opened, beyond what is opened in a minute.
    pub unlisted: u64,
    /// Alerts that were resolved early because too many were open.
    pub cut_short: u64,
    /// How often hits could not wait for their time, because too many did.
    pub hurried: u64,
    /// Findings that no promise had room for.
    pub kept_back: u64,
    pub entities: usize,
}

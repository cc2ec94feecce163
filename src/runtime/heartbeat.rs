//! The heartbeat: a message that comes for as long as all is well, and whose absence is the alarm.
//!
//! Whoever is cut off cannot call for help, and neither can a program that hangs. So a receiver hears of us at fixed times, and
//! somebody outside counts. A heart that beats although nothing else moves would be worse than none: one is sent only when
//! every stage has moved since the one before. It is tried once and kept nowhere, for one that comes late says nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::own;
use crate::deliver::courier::Standing;
use crate::deliver::transport::{Progress, Transport};
use crate::deliver::{self, Moment, compose, terminal::Look};
use crate::model::{Alert, Severity, Timestamp};

/// The first comes so long after the start: by then everything should have moved.
const FIRST: Duration = Duration::from_secs(1);

/// How far everything that must move has come.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stages {
    /// How often lines and the passing of time were judged.
    pub judged: u64,
    /// How often something was committed, or nothing was to be; None: nothing is kept.
    pub kept: Option<u64>,
    /// Of each receiver.
    pub courier: Vec<Standing>,
    /// A source that has fallen, and one of ours that is to be well otherwise.
    pub trouble: Option<String>,
}

impl Stages {
    /// The first that has not moved since then.
    fn stands_still(&self, before: &Stages) -> Option<String> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble.clone());
        }
        if self.judged == before.judged {
            return Some("no line is judged, and no time passes".into());
        }
        if self.kept.is_some() && self.kept == before.kept {
            return Some("nothing can be committed".into());
        }
        let stuck = |it: &&Standing| {
            let was = before.courier.iter().find(|was| was.receiver == it.receiver);
            !it.is_there || it.fails && was.is_some_and(|was| was.ended == it.ended && was.waits)
        };
        self.courier.iter().find(stuck).map(|it| format!("receiver `{}` takes nothing", it.name))
    }
}

/// What became of heartbeats.
#[derive(Default, Debug)]
pub struct Beats {
    pub sent: AtomicU64,
    /// The receiver did not take it.
    pub failed: AtomicU64,
    /// Something stood still.
    pub withheld: AtomicU64,
}

/// To whom, how often, and when next.
pub struct Heartbeat {
    transport: Arc<Transport>,
    every: Duration,
    due: Instant,
    before: Stages,
    number: u64,
    is_withheld: bool,
    pub beats: Arc<Beats>,
}

/// What is to be done at a beat.
pub enum Beat {
    /// Send it.
    Send(Box<Sending>),
    /// Nothing, and the operator hears why, once.
    Withheld(String),
}

/// One message on its way.
pub struct Sending {
    transport: Arc<Transport>,
    alert: Alert,
    beats: Arc<Beats>,
    every: Duration,
}

impl Heartbeat {
    pub fn new(transport: Transport, every: Duration, now: Instant) -> Heartbeat {
        Heartbeat {
            transport: Arc::new(transport),
            every,
            due: now + FIRST.min(every),
            before: Stages::default(),
            number: 0,
            is_withheld: false,
            beats: Arc::default(),
        }
    }

    /// Whether it is time for one.
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// What that time brings; None: what there is to say was said before.
    pub fn beat(&mut self, stages: Stages, now: Instant, wall: Timestamp) -> Option<Beat> {
        self.due += self.every;
        if self.due <= now {
            // Beats that were slept through are not made up for.
            self.due = now + self.every;
        }
        let still = stages.stands_still(&self.before);
        self.before = stages;
        if let Some(why) = still {
            self.beats.withheld.fetch_add(1, Relaxed);
            let is_news = !std::mem::replace(&mut self.is_withheld, true);
            return is_news.then(|| Beat::Withheld(format!("the heartbeat is withheld: {why}")));
        }
        self.is_withheld = false;
        self.number += 1;
        let seconds = self.every.as_secs();
        let text = format!("Tripline runs. This is heartbeat {}; the next one comes within {seconds} s", self.number);
        let mut alert = own::alert("heartbeat", Severity::Info, &text, wall);
        alert.rule.tags.push("heartbeat".into());
        alert.because.insert("kind".into(), "heartbeat".into());
        alert.because.insert("number".into(), self.number.into());
        alert.because.insert("every_s".into(), seconds.into());
        let (transport, beats) = (self.transport.clone(), self.beats.clone());
        Some(Beat::Send(Box::new(Sending { transport, alert, beats, every: self.every })))
    }
}

impl Sending {
    /// One try, which is over before the next beat.
    pub async fn send(self) {
        let Sending { transport, alert, beats, every } = self;
        let moment = Moment { now: alert.opened_at, look: Look::Lines };
        let body = compose(&transport.receiver().channel, &alert, moment);
        let key = deliver::key(&alert);
        let mut progress = Progress::default();
        let outcome = tokio::time::timeout(every, transport.carry(&key, &body, &mut progress)).await;
        let is_there = matches!(outcome, Ok(deliver::outcome::Outcome::Delivered));
        if is_there { &beats.sent } else { &beats.failed }.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::config::{Outside, Settings, resolve};
    use crate::deliver::test_server::HttpServer;

    fn transport(url: &str) -> Transport {
        let text = format!(r#"{{"hook": Webhook(url: "{url}", allow_destinations: ["127.0.0.0/8"])}}"#);
        let settings: Settings = ron::Options::default()
            .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
            .from_str(&text)
            .unwrap();
        let receiver = resolve(&settings, &Outside::system()).unwrap().remove(0);
        Transport::new(receiver, Arc::new(|| Timestamp::from_micros(0))).unwrap()
    }

    /// An hour of minutes, in which each stage in turn stands still for a while: a real receiver hears exactly the rest.
    #[tokio::test]
    async fn it_comes_only_when_every_stage_has_moved() {
        let server = HttpServer::start([]).await;
        let begun = super::super::clock::steady();
        let mut heart = Heartbeat::new(
            transport(&format!("http://127.0.0.1:{}/beat", server.port)),
            Duration::from_secs(60),
            begun,
        );
        let fine = Standing { receiver: 0, name: "hook".into(), ended: 0, waits: false, fails: false, is_there: true };
        let mut stages = Stages { kept: Some(0), courier: vec![fine], ..Stages::default() };
        let (mut expected, mut said) = (Vec::new(), Vec::new());
        for second in 0..3600 {
            let (minute, now) = (second / 60, begun + Duration::from_secs(second));
            stages.judged += u64::from(minute / 10 != 1);
            stages.kept = stages.kept.map(|it| it + u64::from(minute / 10 != 2));
            let stuck = minute / 10 == 3;
            let standing = Standing { waits: stuck, fails: stuck, is_there: minute < 55, ..stages.courier[0].clone() };
            stages.courier = vec![standing];
            stages.trouble = (minute / 5 == 9).then(|| "a source fell".into());
            if !heart.is_due(now) {
                continue;
            }
            match heart.beat(stages.clone(), now, Timestamp::from_micros(second as i64 * 1_000_000)) {
                None => {}
                Some(Beat::Withheld(why)) => said.push((minute, why)),
                Some(Beat::Send(sending)) => {
                    expected.push(minute);
                    sending.send().await;
                }
            }
        }
        // The minute in which something stopped has still moved, and the one in which a receiver failed first is not known to.
        let in_order: Vec<u64> = [0..=10, 20..=20, 30..=30, 40..=44, 50..=54].into_iter().flatten().collect();
        assert_eq!(expected, in_order);
        let minutes: Vec<u64> = said.iter().map(|it| it.0).collect();
        assert_eq!(minutes, [11, 21, 31, 45, 55], "{said:?}");
        let requests = server.log.requests.lock().unwrap();
        assert_eq!(requests.len(), expected.len());
        let alert: Alert = serde_json::from_slice(&requests[1].body).unwrap();
        assert_eq!((alert.rule.id.as_str(), alert.because["number"].as_u64()), ("tripline.heartbeat", Some(2)));
        assert_eq!((heart.beats.sent.load(Relaxed), heart.beats.failed.load(Relaxed)), (expected.len() as u64, 0));
        assert_eq!(heart.beats.withheld.load(Relaxed), 60 - expected.len() as u64);
    }
}

//! Every maximum, why that number, and what happens when it is reached.

/// Of the first line of a table. A longer one names more columns than any export has; then the file is read as it is.
pub const TABLE_HEAD_BYTES_MAX: usize = 16 << 10;

/// Names that make a first line the head of a table. Two words and a comma are a sentence.
pub const TABLE_COLUMNS_MIN: usize = 3;

/// A line, without its end. Longer: the line is rejected and counted once, its tail never becomes an event. Config: `limits.line`.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Most lines of one pretty-printed JSON document. More: the first line is rejected, the rest read as lines.
pub const DOCUMENT_LINES_MAX: usize = 10_000;
/// Nesting of JSON. Deeper: rejected. serde_json's own limit, so that both agree.
pub const JSON_DEPTH_MAX: usize = 128;
/// Records of one wrapped line (`{"Records":[…]}`). More: the rest is rejected and counted.
pub const RECORDS_PER_LINE_MAX: usize = 10_000;
/// How often a record may be unwrapped from another (`message` in `event` in `Records`; OpenTelemetry's logs
/// lie five deep). Deeper: taken as it is.
pub const UNWRAP_DEPTH_MAX: usize = 6;
/// How many times longer a record may become when a pipeline's spelling of it is turned back; the dots and quotes of flat columns
/// make it a little longer. More: taken as it is.
pub const RESPELL_GROWTH_MAX: usize = 3;
/// Parts of a flat column's name that become objects inside one another. More: the name stays one.
pub const RESPELL_DEPTH_MAX: usize = 12;
/// Distinct field names of all rules and schemas. More: the load is refused.
pub const FIELDS_MAX: usize = 16_000;
/// Shapes of records (which wanted fields are there) of which a front remembers what is left of the schemas for them. Full:
/// all are forgotten and found again.
pub const SHAPES_MAX: usize = 4096;
/// Cases, fields and schemas that are remembered for all shapes together, some 100 bytes each. Full: the same.
pub const SHAPE_PARTS_MAX: usize = 1 << 16;
/// Texts between the values of JSON records that a decoder remembers. More: all are forgotten and found again.
pub const TRAIL_TURNS_MAX: usize = 4096;
/// Their bytes. More: the same.
pub const TRAIL_BYTES_MAX: usize = 128 << 10;
/// How many of them may follow one value. More: such records are read the long way.
pub const TRAIL_WIDTH_MAX: usize = 8;
/// Kinds of JSON records of which a decoder remembers where others may be in them. More: all are forgotten and found again.
pub const OPENINGS_MAX: usize = 512;
/// Actions for which a front remembers which forms of their schema fit. Another with the same place overwrites one. Up to
/// 4 KiB each, mostly 20 bytes.
pub const ACTIONS_KNOWN_MAX: usize = 512;
/// How often an event may say it happened (`message repeated 3 times`). More: taken as that many.
pub const REPEAT_MAX: u32 = 1000;
/// Schemas loaded at once. More: the load is refused.
pub const SCHEMAS_MAX: usize = 10_000;
/// Rules of one set. More: the load is refused.
pub const RULES_MAX: usize = 10_000;
/// A rule, schema or configuration file. Larger: refused.
pub const FILE_BYTES_MAX: u64 = 8 << 20;
/// Brackets inside one another in a rule, schema or configuration file. Deeper: refused, before anything recurses.
pub const RON_DEPTH_MAX: usize = 64;
/// Mistakes shown of one file. More: the rest is left out, for they mostly follow from the first.
pub const PROBLEMS_PER_FILE_MAX: usize = 50;
/// A regular expression, compiled. Larger: the rule is refused.
pub const REGEX_BYTES_MAX: usize = 2 << 20;
/// Steps of a sequence: one bit each in a hit. More: the rule is refused.
pub const STEPS_MAX: usize = 16;
/// `at_least` of counting kinds: a ring of that many times is kept for an entity. More: the rule is refused.
pub const AT_LEAST_MAX: u32 = 10_000;
/// Evidence lines of one alert. More: the first and the latest are kept.
pub const EVIDENCE_LINES_MAX: usize = 10;
/// Bytes of a raw line kept as evidence. More: cut between characters.
pub const EVIDENCE_TEXT_BYTES_MAX: usize = 2048;
/// Recent lines with hits, kept for the evidence of alerts to come: a minute at a thousand of them a second. Full: the oldest is
/// forgotten, and not listed.
pub const EVIDENCE_RING_BYTES_MAX: usize = 16 << 20;
/// Logical partitions of the entities. Fixed for ever: quotas and results must not depend on cores or machines.
pub const PARTITIONS: usize = 128;
/// A field's value in an alert, a title or a key. More: cut.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Events that are asked, and of which three in four must agree, before a jump of more than a day moves a source's clock in a
/// replay.
pub const JUMP_CONFIRMATIONS: u64 = 16;
/// Values that decide what a record means, of which a front remembers those of idle events. More: they are worked out again.
pub const DECIDERS_MAX: usize = 8;
/// Their bytes. More: the same.
pub const IDLE_KEY_BYTES_MAX: usize = 256;
/// Idle events whose deciding values are remembered. Another with the same place overwrites one.
pub const IDLE_KNOWN_MAX: usize = 1024;
/// Events of one shape and meaning that are taken to all rules before it is asked whether any rule could want one: the
/// question costs as much as some hundred events, and a stranger can think up shapes.
pub const EVENTS_BEFORE_IDLE: u16 = 64;
/// Events that were read and wait to be judged together. Full: they are. More would not stay in a processor's cache.
pub const EVENTS_QUEUED_MAX: usize = 32;
/// Bytes for unescaped and computed texts that an event which waits begins with. More: they grow.
pub const SCRATCH_FIRST_BYTES: usize = 2 << 10;
/// Bytes of unescaped and computed texts for which an event that waits keeps its memory. More: it is given back.
pub const SCRATCH_KEPT_BYTES_MAX: usize = 64 << 10;
/// Events that are given to one rule after the other, before the next are. More would not stay in a processor's cache.
pub const EVENTS_FED_MAX: usize = 128;
/// Bytes of lines handed to a front at once.
pub const BATCH_BYTES: usize = 256 << 10;
/// A log that runs newest first is held whole to be read from its end. More: it is read as it stands, and the summary says so.
pub const TURNED_BYTES_MAX: usize = 512 << 20;
/// Lines that are asked for their times to find out whether a log runs newest first.
pub const TURNED_SAMPLE_LINES: usize = 256;
/// Alerts of so many steps may wait for the thread that writes them. Full: reading waits.
pub const WRITES_WAITING_MAX: usize = 16;
/// Batches on their way between threads. Full: the reader waits, and the sender feels it.
pub const BATCHES_WAITING_MAX: usize = 8;
/// TCP connections at once. More: the one whose last complete line is oldest is closed and counted.
pub const CONNECTIONS_MAX: usize = 1024;
/// Lines that have begun, over all TCP connections. More: those that hold more than their share are closed and counted.
pub const HELD_BYTES_MAX: usize = 64 << 20;
/// Files of one followed source. More: the rest is not read, and said once.
pub const FILES_FOLLOWED_MAX: usize = 10_000;
/// Files of one followed source that are open. More: the one that was quiet for longest is closed, and opened when it grows.
pub const FILES_OPEN_MAX: usize = 128;
/// Positions kept of files of one log that are gone: weekly logs of half a year. More: the oldest is forgotten.
pub const FILES_GONE_OF_ONE_LOG_MAX: usize = 32;
/// The same for all logs of one source.
pub const FILES_GONE_MAX: usize = 1000;
/// Bytes before a position by which a file is known again: some dozen lines.
pub const FINGERPRINT_BYTES: usize = 4096;
/// Names that TCP clients gave themselves since the start. More: `ERR`, until a restart.
pub const CLIENTS_MAX: usize = 10_000;
/// Distinct values kept exactly for one entity of a `Distinct` rule. More: HyperLogLog, and the alert says so.
pub const DISTINCT_EXACT_MAX: usize = 1024;
/// Events of one entity of a `Sum` rule kept one by one, 48 bytes each. More: those of the same thousandth of the window are kept as one.
pub const SUM_EVENTS_MAX: usize = 4096;
/// Entities whose values a `FirstSeen`, `Rare` or `Unfamiliar` rule remembers, 72 bytes each. More: who came more often has the place.
pub const FIRSTS_PEOPLE_MAX: usize = 1_000_000;
/// Values of one entity of such a rule, 16 bytes each. More: those not seen for longest are forgotten.
pub const FIRSTS_VALUES_EACH_MAX: usize = 4096;
/// Values of all entities of such a rule. More: an entity's new value takes the place of its old ones.
pub const FIRSTS_VALUES_MAX: usize = 4_000_000;
/// Entities whose rate a `Spike` rule remembers, 80 bytes each, and as many of other kinds that learn. More: who came more often has the place.
pub const HABITS_MAX: usize = 500_000;
/// Of those, how many have a profile of the day and the week, 2.5 KiB each. More: the others are judged by their level alone.
pub const HABIT_PROFILES_MAX: usize = 4096;
/// Values of one entity of an `Unfamiliar` rule, 8 bytes each. More: those not seen for longest are forgotten.
pub const UNFAMILIAR_VALUES_EACH_MAX: usize = 24;
/// Values of one entity of a `FanOut` rule in a day, 8 bytes each. More: the oldest is forgotten; by then it was told.
pub const FAN_OUT_VALUES_MAX: usize = 64;
/// Entities whose rhythm a `Beacon` rule follows, 56 bytes each and their lines, for three days. More: who came more often has the place.
pub const BEACONS_MAX: usize = 500_000;
/// Groups of peers with a budget of their own, 40 bytes each. More: they share that of the rule.
pub const GROUPS_MAX: usize = 100_000;
/// Suspicions of one rule that wait to be told. More: kept back unless they are beyond doubt.
pub const HELD_MAX: usize = 4096;
/// Peers that stood out in the last day, of one group. More: they are no longer counted, and count as many.
pub const HIGH_MAX: usize = 1024;
/// Notifications waiting for one receiver. More: the oldest goes to the dead-letter file, and is counted.
pub const OUTBOX_WAITING_MAX: usize = 100_000;
/// Bytes of the notifications waiting for one receiver. More: as with too many of them.
pub const OUTBOX_BYTES_MAX: usize = 32 << 20;
/// Requests to one receiver at once.
pub const DELIVERIES_IN_FLIGHT_MAX: usize = 4;
/// Bytes read of a receiver's answer. More: the connection is closed.
pub const REPLY_BYTES_MAX: usize = 64 << 10;
/// Kept lines of `--rejects FILE`, each cut at 4 KiB.
pub const REJECTED_TEXT_BYTES_MAX: usize = 4096;
/// Their file, in a service. More: it begins anew, and one older file is kept beside it.
pub const REJECTS_FILE_BYTES_MAX: u64 = 64 << 20;
/// Seconds a notification is tried before it expires.
pub const DELIVERY_SECONDS_MAX: u64 = 72 * 3600;
/// Sources whose clocks are watched. More: all are forgotten and learned again.
pub const CLOCKS_MAX: usize = 10_000;
/// Sources known at once. More: the number of a closed one is given to the new one.
pub const SOURCES_MAX: usize = 60_000;
/// Memory of the whole process, unless the configuration says otherwise: `limits.memory`.
pub const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// Of that, what the program takes before it remembers anything, with rules, a geo database and buffers; a third, if that is less.
pub const PROGRAM_BYTES: u64 = 40 << 20;
/// Of the rest, in hundredths, what detectors may remember; rules share it alike. Full: they over-estimate, and say so.
pub const DETECTORS_PERCENT: u64 = 60;
/// Rules of so much weight together use up their shares at once. Where more are loaded the shares add up to more than there is:
/// most rules remember next to nothing, and with the built-in pack a flood of names reaches ten.
pub const WEIGHT_AT_ONCE: u64 = 12;
/// What a rule may remember at least, unless the whole memory is less than 32 times that.
pub const RULE_BYTES_MIN: u64 = 4 << 20;
/// Of the rest, in hundredths: lines kept for evidence.
pub const EVIDENCE_PERCENT: u64 = 5;
/// Of the rest, in hundredths: open alerts. Full: the one that would resolve next is resolved early, and counted.
pub const OPEN_ALERTS_PERCENT: u64 = 8;
/// Of the rest, in hundredths: hits that wait for lines before them. Full: the earliest do not wait any longer, and are counted.
pub const WAITING_PERCENT: u64 = 10;
/// Alerts a minute that a rule may open although not all that they need was seen; half of them, where less than half was. More:
/// counted, and told once.
pub const GUESSES_PER_MINUTE_MAX: u32 = 1000;
/// Journal bytes after which a snapshot is taken: bounds how long a restart takes. Some 160 MiB are told again in a second or
/// two; a snapshot of a hundred thousand users writes a third of that.
pub const JOURNAL_BYTES_MAX: usize = 160 << 20;
/// Journal bytes that a start reads as quickly as a snapshot. Where it had to read more, that life writes a snapshot at its end.
pub const JOURNAL_BYTES_UNPAID_MAX: usize = 1 << 20;
/// Journal and notifications that wait for a commit, beyond which nothing more is read: senders wait. One such group is under
/// way, one is next, one grows; each may be larger by what one batch of lines led to.
pub const GROUP_BYTES_MAX: usize = 4 << 20;
/// Room in the state directory that is given back when the disk is full. More would help no more: forgetting a few thousand
/// delivered notifications writes some MiB.
pub const BALLAST_BYTES_MAX: u64 = 64 << 20;
/// It takes at most this part of the disk, and nothing where that is less than 1 MiB.
pub const BALLAST_SHARE: u64 = 16;
/// Of a small disk the journal before a snapshot takes at most this part.
pub const JOURNAL_SHARE: u64 = 16;
/// Alerts that come at once and whose messages are all written before they are sent. More: those for receivers with a tempo, which
/// will be told most of them in digests, are written when they are sent.
pub const TOLD_AT_ONCE_MAX: usize = 100;
/// Alerts that a digest lists; the others stand in the numbers of their rules. A message has room for so many lines.
pub const DIGEST_LINES_MAX: usize = 100;
/// Rules that a digest counts one by one; the others are added up. No message shows more facts.
pub const DIGEST_RULES_MAX: usize = 15;
/// Alerts in one digest. More wait for the next, so that the dead-letter file and a reduced body stay of a size.
pub const DIGEST_ALERTS_MAX: usize = 10_000;
/// HTTP connections at once. One more: the one that has been here longest is closed.
pub const WEB_CONNECTIONS_MAX: usize = 256;
/// A body of lines by HTTP, packed or not. More: 413; it is judged in one go, and kept whole until it is committed.
pub const INGEST_BODY_BYTES_MAX: usize = 8 << 20;
/// Bytes of all bodies that have begun. More: 503, come again.
pub const INGEST_HELD_BYTES_MAX: usize = 64 << 20;
/// Bodies that wait for their commit at once. More: 503, come again.
pub const INGEST_WAITING_MAX: usize = 32;
/// An HTTP request's head. More: 431.
pub const WEB_HEAD_BYTES_MAX: usize = 8 << 10;
/// Alerts open at once. More: the one that would resolve next is resolved early, and counted.
pub const OPEN_ALERTS_MAX: usize = 100_000;
/// Alerts that opened last, whose ids are remembered, 50 bytes each: a line that comes again opens none of them again. More: forgotten.
pub const ALERTS_KNOWN_MAX: usize = 4096;
/// Cached geo lookups (direct-mapped by address).
pub const GEO_CACHE_ENTRIES: usize = 1 << 16;
/// People an impossible-travel rule remembers, about 1 KiB each. More: newcomers are not judged until somebody is forgotten.
pub const TRAVEL_PEOPLE_MAX: usize = 200_000;
/// Addresses an impossible-travel rule knows of everybody, 88 bytes each. More: those not seen for longest are forgotten.
pub const TRAVEL_ADDRESSES_MAX: usize = 200_000;
/// Networks (by number) of the same rule, at most 500 bytes each. More: those not seen for longest are forgotten.
pub const TRAVEL_NETWORKS_MAX: usize = 16_384;
/// Names of cities it keeps for its sentences. More: those not seen for longest; the sentence then names the country.
pub const TRAVEL_NAMES_MAX: usize = 16_384;
/// Networks with recent alerts, for grouping. More: those not seen for longest are forgotten and open a group of their own.
pub const TRAVEL_GROUPS_MAX: usize = 4096;
/// Distinct geo records kept decoded by one thread. More: the thread's cache starts afresh.
pub const GEO_RECORDS_MAX: usize = 1 << 15;
/// Geo databases merged into one answer. More: the load is refused.
pub const GEO_FILES_MAX: usize = 8;
/// A geo database, read into memory whole; the largest on sale are near 1 GB. Larger: refused.
pub const GEO_FILE_BYTES_MAX: u64 = 2 << 30;
/// Age at which a geo database is called old: addresses change hands all the time.
pub const GEO_AGE_DAYS_MAX: i64 = 90;
/// What a package registry may say of one package; the rest is refused. Ours says some 1 KB.
pub const REGISTRY_ANSWER_BYTES_MAX: u64 = 1 << 20;
/// What was learned elsewhere, read into memory whole: it is what detectors remember, and they have half a gibibyte by default.
/// Larger: refused.
pub const LESSONS_BYTES_MAX: u64 = 4 << 30;
/// Entries of one list of the configuration: the largest public block lists have some hundred thousand. More: refused.
pub const LIST_ENTRIES_MAX: usize = 1_000_000;
/// Nesting of a `when`. Deeper: the rule is refused.
pub const EXPR_DEPTH_MAX: usize = 128;
/// Lines that a block of a story stands for: four weeks of one line a minute. More: the story is refused.
pub const STORY_LINES_MAX: usize = 50_000;

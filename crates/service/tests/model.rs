//! The life cycle against a model: random calls on a few keys, while the clock moves, jobs run, the service
//! restarts and its store fails. The model is section 3.1 of the API's behaviour with decisions 7 to 12 and 16 to
//! 18 for symmetric keys that the service made, and 12 and 23 for their hosted data keys, written down anew; it shares no
//! code with the service.

mod support;

use jadeseal_service::clock::Clock as _;
use serde_json::{Value, json};
use std::time::Duration;
use support::{Kms, User, code, faults::Fault};

const DAY: u64 = 86_400;
const PLAINTEXT: &str = "c2VjcmV0";
/// How far the clock moves at a time so that it looks steady.
const STRIDE: u64 = 86_400;

/// xorshift64*: small, good enough, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Enabled,
    Disabled,
    Archived,
    PendingDelete,
    Gone,
}

/// What a key should be.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    state: State,
    deletion: u64,
    /// Period in days and time of the next rotation, when rotation is on.
    rotation: Option<(u64, u64)>,
    on_demand: Option<u64>,
    bound: bool,
    alias: String,
}

#[derive(Clone, Debug)]
enum Call {
    Enable,
    Disable,
    Archive,
    CancelArchive,
    Schedule(u64),
    CancelDeletion,
    EnableRotation(u64),
    DisableRotation,
    Rotate,
    Bind,
    Unbind,
    Rename(String),
    Encrypt,
    DataKey,
}

const OK: &str = "";
const STATE: &str = "ResourceUnavailable.CmkStateNotSupport";
const USED: &str = "FailedOperation.CmkUsedByCloudProduct";
const DISABLED: &str = "ResourceUnavailable.CmkDisabled";
const ARCHIVED: &str = "ResourceUnavailable.CmkArchived";
const NOT_FOUND: &str = "ResourceUnavailable.CmkNotFound";

impl Call {
    fn random(dice: &mut Dice, names: &mut u64) -> Self {
        match dice.roll(16) {
            0 | 1 => Call::Enable,
            2 | 3 => Call::Disable,
            4 => Call::Archive,
            5 => Call::CancelArchive,
            6 | 7 => Call::Schedule(7 + dice.roll(24)),
            8 => Call::CancelDeletion,
            9 => Call::EnableRotation(7 + dice.roll(60)),
            10 => Call::DisableRotation,
            11 => Call::Rotate,
            12 if dice.roll(4) == 0 => Call::Bind,
            12 => Call::Unbind,
            13 => {
                *names += 1;
                Call::Rename(format!("renamed-{names}"))
            }
            14 => Call::Encrypt,
            _ => Call::DataKey,
        }
    }

    fn request(&self, key: &str) -> (&'static str, Value) {
        let with = |mut more: Value| {
            more["KeyId"] = json!(key);
            more
        };
        let resource = || with(json!({ "ProductId": "ssm", "ResourceId": "r" }));
        match self {
            Call::Enable => ("EnableKey", with(json!({}))),
            Call::Disable => ("DisableKey", with(json!({}))),
            Call::Archive => ("ArchiveKey", with(json!({}))),
            Call::CancelArchive => ("CancelKeyArchive", with(json!({}))),
            Call::Schedule(days) => ("ScheduleKeyDeletion", with(json!({ "PendingWindowInDays": days }))),
            Call::CancelDeletion => ("CancelKeyDeletion", with(json!({}))),
            Call::EnableRotation(days) => ("EnableKeyRotation", with(json!({ "RotateDays": days }))),
            Call::DisableRotation => ("DisableKeyRotation", with(json!({}))),
            Call::Rotate => ("RotateKey", with(json!({}))),
            Call::Bind => ("BindCloudResource", resource()),
            Call::Unbind => ("UnbindCloudResource", resource()),
            Call::Rename(alias) => ("UpdateAlias", with(json!({ "Alias": alias }))),
            Call::Encrypt => ("Encrypt", with(json!({ "Plaintext": PLAINTEXT }))),
            Call::DataKey => ("GenerateDataKey", with(json!({ "NumberOfBytes": 16 }))),
        }
    }

    /// True for calls that change nothing, whose records are all that they leave.
    fn is_use(&self) -> bool {
        matches!(self, Call::Encrypt | Call::DataKey)
    }
}

impl Model {
    fn new(alias: String) -> Self {
        Model { state: State::Enabled, deletion: 0, rotation: None, on_demand: None, bound: false, alias }
    }

    /// The error code that a call must get, and the key afterwards.
    fn apply(&self, call: &Call, now: u64) -> (&'static str, Model) {
        use State::*;
        let mut next = self.clone();
        let to = |state: State| Model { state, ..self.clone() };
        let refuse = |code: &'static str| (code, self.clone());
        if self.state == Gone {
            return refuse(NOT_FOUND);
        }
        match (call, self.state) {
            (Call::Enable, Enabled | Disabled) => (OK, to(Enabled)),
            (Call::Disable, Disabled) => (OK, next),
            (Call::Disable | Call::Archive, Enabled) | (Call::Archive, Disabled) if self.bound => refuse(USED),
            (Call::Disable, Enabled) => (OK, to(Disabled)),
            (Call::Archive, Enabled | Disabled | Archived) => (OK, to(Archived)),
            (Call::CancelArchive, Archived) => (OK, to(Enabled)),
            (Call::Schedule(_), Enabled | Archived) => refuse("ResourceUnavailable.CmkShouldBeDisabled"),
            (Call::Schedule(_), Disabled) if self.bound => refuse(USED),
            (Call::Schedule(days), Disabled) => {
                next.state = PendingDelete;
                next.deletion = now + days * DAY;
                (OK, next)
            }
            (Call::CancelDeletion, PendingDelete) => (OK, Model { deletion: 0, ..to(Disabled) }),
            (Call::CancelDeletion, _) => refuse("ResourceUnavailable.CmkNotPendingDelete"),
            (Call::EnableRotation(days), Enabled | Disabled) => {
                let since = match self.rotation {
                    Some((old, _)) if old == *days => return (OK, next),
                    Some((old, at)) => (at - old * DAY).min(now),
                    None => now,
                };
                next.rotation = Some((*days, (since + days * DAY).max(now)));
                (OK, next)
            }
            (Call::DisableRotation, _) => (OK, Model { rotation: None, ..next }),
            (Call::Rotate, Enabled) => match self.rotation {
                None => refuse("UnsupportedOperation.RotateNotSupported"),
                Some(_) if self.on_demand.is_some_and(|at| now < at + DAY) => {
                    refuse("RequestLimitExceeded.RotateRateLimited")
                }
                Some((days, _)) => {
                    next.rotation = Some((days, now + days * DAY));
                    next.on_demand = Some(now);
                    (OK, next)
                }
            },
            (Call::Bind, Enabled) => (OK, Model { bound: true, ..next }),
            (Call::Unbind, _) if self.bound => (OK, Model { bound: false, ..next }),
            (Call::Unbind, _) => refuse("ResourceUnavailable.CloudResourceBindingNotFound"),
            (Call::Rename(alias), Enabled | Disabled | Archived) => (OK, Model { alias: alias.clone(), ..next }),
            (Call::Encrypt | Call::DataKey, Enabled) => (OK, next),
            (Call::Encrypt | Call::DataKey, Archived) => refuse(ARCHIVED),
            (Call::DataKey, PendingDelete) => refuse("ResourceUnavailable.KeyPendingDelete"),
            (Call::Encrypt | Call::DataKey, _) => refuse(DISABLED),
            _ => refuse(STATE),
        }
    }

    /// What the jobs do to the key until `now`.
    fn pass(&mut self, now: u64) {
        if self.state == State::PendingDelete && self.deletion <= now {
            self.state = State::Gone;
        }
        if let (State::Enabled, Some((days, at))) = (self.state, self.rotation)
            && at <= now
        {
            self.rotation = Some((days, now + days * DAY));
        }
    }

    fn decrypt_code(&self) -> &'static str {
        match self.state {
            State::Enabled | State::Archived => OK,
            State::Gone => "InvalidParameterValue.InvalidCiphertext",
            State::Disabled | State::PendingDelete => DISABLED,
        }
    }

    /// The metadata that DescribeKey must show.
    fn metadata(&self) -> Value {
        let state = match self.state {
            State::Enabled => "Enabled",
            State::Disabled => "Disabled",
            State::Archived => "Archived",
            State::PendingDelete => "PendingDelete",
            State::Gone => "",
        };
        json!({
            "KeyState": state,
            "DeletionDate": self.deletion,
            "KeyRotationEnabled": self.rotation.is_some(),
            "RotateDays": self.rotation.map_or(0, |(days, _)| days),
            "Alias": self.alias,
        })
    }
}

/// What a hosted data key should be; it is gone when its CMK is.
#[derive(Clone, Debug)]
struct Hosted {
    id: String,
    /// Place of the CMK among the keys.
    cmk: usize,
    state: State,
    deletion: u64,
}

#[derive(Clone, Copy, Debug)]
enum DataCall {
    Enable,
    Disable,
    Schedule(u64),
    CancelDeletion,
    Read,
}

const DATA_STATE: &str = "ResourceUnavailable.DataKeyStateNotSupport";
const DATA_NOT_FOUND: &str = "ResourceUnavailable.DataKeyNotFound";

impl DataCall {
    fn random(dice: &mut Dice) -> Self {
        match dice.roll(8) {
            0 | 1 => DataCall::Enable,
            2 | 3 => DataCall::Disable,
            4 => DataCall::Schedule(7 + dice.roll(24)),
            5 => DataCall::CancelDeletion,
            _ => DataCall::Read,
        }
    }

    fn request(self, id: &str) -> (&'static str, Value) {
        match self {
            DataCall::Enable => ("EnableDataKey", json!({ "DataKeyId": id })),
            DataCall::Disable => ("DisableDataKeys", json!({ "DataKeyIds": [id] })),
            DataCall::Schedule(days) => {
                ("ScheduleDataKeyDeletion", json!({ "DataKeyId": id, "PendingWindowInDays": days }))
            }
            DataCall::CancelDeletion => ("CancelDataKeyDeletion", json!({ "DataKeyId": id })),
            DataCall::Read => ("GetDataKeyPlaintext", json!({ "DataKeyId": id })),
        }
    }

    /// The error code that the call must get, and the state afterwards.
    fn apply(self, state: State, cmk: State) -> (&'static str, State) {
        use State::*;
        match (self, state) {
            (_, Gone) => (DATA_NOT_FOUND, Gone),
            (DataCall::Enable, Enabled | Disabled) if cmk == Enabled => (OK, Enabled),
            (DataCall::CancelDeletion, PendingDelete) if cmk == Enabled => (OK, Disabled),
            (DataCall::Enable, Enabled | Disabled) | (DataCall::CancelDeletion, PendingDelete) => (STATE, state),
            (DataCall::CancelDeletion, _) => ("ResourceUnavailable.DataKeyNotPendingDelete", state),
            (DataCall::Disable, Enabled | Disabled) => (OK, Disabled),
            (DataCall::Schedule(_), Disabled) => (OK, PendingDelete),
            (DataCall::Read, Enabled) if matches!(cmk, Enabled | Archived) => (OK, Enabled),
            (DataCall::Read, Enabled) => (DISABLED, Enabled),
            (DataCall::Read, Disabled) => ("ResourceUnavailable.DataKeyDisabled", Disabled),
            (DataCall::Read, PendingDelete) => ("ResourceUnavailable.DataKeyPendingDelete", PendingDelete),
            _ => (DATA_STATE, state),
        }
    }
}

struct Key {
    id: String,
    model: Model,
    blobs: Vec<String>,
}

struct Run {
    kms: Kms,
    user: User,
    dice: Dice,
    keys: Vec<Key>,
    hosted: Vec<Hosted>,
    names: u64,
    counts: [u32; 6],
}

impl Run {
    async fn seen(&self, id: &str) -> Option<Value> {
        let answer = self.kms.call(&self.user, "DescribeKey", json!({ "KeyId": id })).await;
        if code(&answer) == NOT_FOUND {
            return None;
        }
        let all = &answer["KeyMetadata"];
        let mut seen = json!({});
        for name in ["KeyState", "DeletionDate", "KeyRotationEnabled", "RotateDays", "Alias"] {
            seen[name] = all[name].clone();
        }
        if all["KeyRotationEnabled"] == true {
            seen["Next"] = all["NextRotateTime"].clone();
        }
        Some(seen)
    }

    fn expected(model: &Model) -> Option<Value> {
        let mut wanted = model.metadata();
        if let Some((_, at)) = model.rotation {
            wanted["Next"] = json!(at);
        }
        (model.state != State::Gone).then_some(wanted)
    }

    async fn check(&self, at: usize, what: &str) {
        let key = &self.keys[at];
        assert_eq!(self.seen(&key.id).await, Self::expected(&key.model), "{what}");
        // The store, not only the cache, says so.
        let rows = self.kms.store.all_keys_meta(None, 1_000).await.unwrap();
        let row = rows.iter().find(|r| r.key_id.to_string() == key.id);
        assert_eq!(row.is_some(), key.model.state != State::Gone, "{what}");
        if let Some(row) = row {
            assert_eq!(row.state.wire(), key.model.metadata()["KeyState"], "{what}: in the store");
            assert_eq!(row.bindings > 0, key.model.bound, "{what}");
        }
    }

    async fn create(&mut self) {
        self.names += 1;
        let alias = format!("k-{}", self.names);
        let id = self.kms.create(&self.user, &alias).await;
        self.keys.push(Key { id, model: Model::new(alias), blobs: Vec::new() });
    }

    async fn call(&mut self, at: usize) {
        let call = Call::random(&mut self.dice, &mut self.names);
        let now = self.kms.clock.now();
        let (wanted, next) = self.keys[at].model.apply(&call, now);
        let fault = match self.dice.roll(8) {
            0 => Some(Fault::Refused),
            1 => Some(Fault::Conflict),
            2 => Some(Fault::AnswerLost),
            _ => None,
        };
        if let Some(fault) = fault {
            self.kms.faults.next_commit(fault);
        }
        let id = self.keys[at].id.clone();
        let (action, params) = call.request(&id);
        let answer = self.kms.call(&self.user, action, params).await;
        let struck = fault.filter(|_| !self.kms.faults.clear());
        let got = answer["Error"]["Code"].as_str().unwrap_or(OK);
        let what = format!("{call:?} on {:?} at {now}, fault {struck:?}: {answer}", self.keys[at].model);
        match struck {
            // No commit, no fault; and a conflict is tried again, unless the call commits without reading first.
            None => assert_eq!(got, wanted, "{what}"),
            Some(Fault::Conflict) if matches!(call, Call::Unbind) => {
                assert_eq!(got, "InternalError", "{what}");
                self.counts[1] += 1;
                return self.check(at, &what).await;
            }
            Some(Fault::Conflict) => {
                assert_eq!(got, wanted, "{what}");
                self.counts[1] += 1;
            }
            Some(Fault::Refused) => {
                assert_eq!(got, "InternalError", "{what}");
                self.counts[2] += 1;
                return self.check(at, &what).await;
            }
            Some(Fault::AnswerLost) => {
                // A call that only the store refuses is refused by it before an answer can be lost.
                assert_eq!(got, if wanted == OK { "InternalError" } else { wanted }, "{what}");
                self.counts[3] += 1;
            }
        }
        if struck != Some(Fault::AnswerLost) && call.is_use() && wanted == OK {
            self.keys[at].blobs.push(answer["CiphertextBlob"].as_str().unwrap().to_owned());
        }
        self.keys[at].model = next;
        self.counts[0] += 1;
        self.check(at, &what).await;
    }

    /// Hosts a data key under one of the keys, whatever state that is in.
    async fn host(&mut self, at: usize) {
        use State::*;
        self.names += 1;
        let wanted = match self.keys[at].model.state {
            Enabled => OK,
            Archived => ARCHIVED,
            Disabled => DISABLED,
            PendingDelete => "ResourceUnavailable.KeyPendingDelete",
            Gone => NOT_FOUND,
        };
        let refused = self.dice.roll(6) == 0;
        match self.dice.roll(6) {
            _ if refused => self.kms.faults.next_commit(Fault::Refused),
            0 => self.kms.faults.next_commit(Fault::Conflict),
            _ => {}
        }
        let name = format!("d-{}", self.names);
        let params = json!({ "KeyId": self.keys[at].id, "NumberOfBytes": 8, "IsHostedByKms": 1, "DataKeyName": name });
        let answer = self.kms.call(&self.user, "GenerateDataKey", params).await;
        let struck = !self.kms.faults.clear();
        let got = answer["Error"]["Code"].as_str().unwrap_or(OK);
        let wanted = if refused && struck { "InternalError" } else { wanted };
        assert_eq!(got, wanted, "under {:?}: {answer}", self.keys[at].model);
        if got == OK {
            let id = answer["DataKeyId"].as_str().unwrap().to_owned();
            self.hosted.push(Hosted { id, cmk: at, state: Enabled, deletion: 0 });
        }
    }

    async fn call_data(&mut self, at: usize) {
        let call = DataCall::random(&mut self.dice);
        let Hosted { id, cmk, state, .. } = self.hosted[at].clone();
        let cmk = self.keys[cmk].model.state;
        let (wanted, next) = call.apply(state, cmk);
        let fault = match self.dice.roll(8) {
            0 => Some(Fault::Refused),
            1 => Some(Fault::Conflict),
            2 => Some(Fault::AnswerLost),
            _ => None,
        };
        if let Some(fault) = fault {
            self.kms.faults.next_commit(fault);
        }
        let (action, params) = call.request(&id);
        let answer = self.kms.call(&self.user, action, params).await;
        let struck = fault.filter(|_| !self.kms.faults.clear());
        let got = answer["Error"]["Code"].as_str().unwrap_or(OK);
        let what = format!("{call:?} on {state:?} under {cmk:?}, fault {struck:?}: {answer}");
        match struck {
            None | Some(Fault::Conflict) => assert_eq!(got, wanted, "{what}"),
            Some(Fault::Refused | Fault::AnswerLost) => assert_eq!(got, "InternalError", "{what}"),
        }
        if struck != Some(Fault::Refused) {
            let now = self.kms.clock.now();
            let hosted = &mut self.hosted[at];
            hosted.state = next;
            hosted.deletion = match (call, next) {
                (DataCall::Schedule(days), State::PendingDelete) if wanted == OK => now + days * DAY,
                (_, State::PendingDelete) => hosted.deletion,
                _ => 0,
            };
        }
        self.counts[5] += 1;
        self.check_data(at, &what).await;
    }

    async fn check_data(&self, at: usize, what: &str) {
        let Hosted { id, state, deletion, .. } = &self.hosted[at];
        let answer = self.kms.call(&self.user, "DescribeDataKey", json!({ "DataKeyId": id })).await;
        if *state == State::Gone {
            assert_eq!(code(&answer), DATA_NOT_FOUND, "{what}");
            return;
        }
        let seen = &answer["DataKeyMetadata"];
        let wanted = (json!(format!("{state:?}")), json!(deletion));
        assert_eq!((seen["KeyState"].clone(), seen["DeletionDate"].clone()), wanted, "{what}: {answer}");
    }

    async fn pass_time(&mut self, seconds: u64) {
        let mut left = seconds;
        while left > 0 {
            let step = left.min(STRIDE);
            left -= step;
            self.kms.clock.advance(Duration::from_secs(step));
            if self.dice.roll(6) == 0 {
                // A job that fails leaves its work to the next pass.
                self.kms.faults.next_commit(Fault::Refused);
                self.kms.run_jobs().await;
                self.kms.faults.clear();
            }
            self.kms.run_jobs().await;
            self.models_pass();
        }
    }

    /// What the jobs have just done.
    fn models_pass(&mut self) {
        let now = self.kms.clock.now();
        self.keys.iter_mut().for_each(|key| key.model.pass(now));
        for hosted in &mut self.hosted {
            let due = hosted.state == State::PendingDelete && hosted.deletion <= now;
            if due || self.keys[hosted.cmk].model.state == State::Gone {
                (hosted.state, hosted.deletion) = (State::Gone, 0);
            }
        }
    }

    async fn decrypt_everything(&self) {
        for key in &self.keys {
            for blob in &key.blobs {
                let answer = self.kms.call(&self.user, "Decrypt", json!({ "CiphertextBlob": blob })).await;
                let got = answer["Error"]["Code"].as_str().unwrap_or(OK);
                assert_eq!(got, key.model.decrypt_code(), "{:?}", key.model);
            }
        }
    }
}

async fn run(seed: u64, steps: u32) -> [u32; 6] {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    kms.run_jobs().await;
    let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut run = Run { kms, user, dice, keys: Vec::new(), hosted: Vec::new(), names: 0, counts: [0; 6] };
    for _ in 0..4 {
        run.create().await;
    }
    for _ in 0..steps {
        match run.dice.roll(40) {
            0 => run.create().await,
            1..=3 => {
                let days = 1 + run.dice.roll(12);
                run.pass_time(days * DAY).await;
            }
            4 => {
                let seconds = run.dice.roll(DAY);
                run.pass_time(seconds).await;
            }
            5 => {
                run.kms = run.kms.restart().await;
                run.counts[4] += 1;
                // The clock must be seen running steadily again before keys are destroyed. A key that was enabled after its
                // rotation had come due rotates now.
                run.kms.run_jobs().await;
                run.models_pass();
                run.pass_time(700).await;
            }
            6 => run.decrypt_everything().await,
            7..=9 => {
                let at = run.dice.roll(run.keys.len() as u64) as usize;
                run.host(at).await;
            }
            10..=17 if !run.hosted.is_empty() => {
                let at = run.dice.roll(run.hosted.len() as u64) as usize;
                run.call_data(at).await;
            }
            _ => {
                let at = run.dice.roll(run.keys.len() as u64) as usize;
                run.call(at).await;
            }
        }
        for at in 0..run.keys.len() {
            run.check(at, "afterwards").await;
        }
        for at in 0..run.hosted.len() {
            run.check_data(at, "afterwards").await;
        }
    }
    run.decrypt_everything().await;
    run.counts
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_cycle_follows_its_model_through_faults() {
    let seeds: Vec<u64> = match std::env::var("MODEL_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=8).collect(),
    };
    let mut sums = [0u32; 6];
    for seed in &seeds {
        // Shown when the test fails: MODEL_SEED=n runs that one alone.
        eprintln!("seed {seed}");
        for (sum, n) in sums.iter_mut().zip(run(*seed, 250).await) {
            *sum += n;
        }
    }
    eprintln!("calls, conflicts, refusals, lost answers, restarts, calls on data keys: {sums:?}");
    assert!(seeds.len() == 1 || sums.iter().all(|n| *n >= 10), "every kind of thing happened: {sums:?}");
}

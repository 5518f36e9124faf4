//! Policies compiled for a principal, and the decision.

use super::{
    ActionId, Binding, By, Conditions, Decision, Facts, Policy, PolicySet, Resource,
    actions::Bits,
    conditions::{Item, Seen, Test, Truth},
    operators::Key,
    resources::{KeyText, Room, Subject, Target},
};
use std::sync::Arc;

/// A statement compiled for a principal.
#[derive(Debug)]
pub(super) struct Statement {
    policy: Arc<str>,
    number: usize,
    actions: Bits,
    targets: Box<[Target]>,
    tests: Box<[Test]>,
}

impl PolicySet {
    /// Compiles policies, each under its name.
    pub fn new<'a>(binding: Binding, policies: impl IntoIterator<Item = (&'a str, &'a Policy)>) -> Self {
        let mut set = PolicySet { binding, denying: Vec::new(), allowing: Vec::new() };
        for (name, policy) in policies {
            let name: Arc<str> = name.into();
            for (number, statement) in policy.statements.iter().enumerate().filter(|(_, s)| !s.is_inert()) {
                let side = if statement.denies { &mut set.denying } else { &mut set.allowing };
                side.push(Statement {
                    policy: Arc::clone(&name),
                    number,
                    actions: statement.actions,
                    targets: statement.resources.iter().map(|r| r.compile(&binding)).collect(),
                    tests: statement.conditions.iter().map(|c| c.compile(&binding)).collect(),
                });
            }
        }
        set
    }

    /// Whom they were compiled for.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Decides.
    pub fn evaluate(&self, action: ActionId, resource: &Resource<'_>, conditions: &Conditions<'_>) -> Decision {
        let asked = Asked::new(&self.binding, resource, conditions);
        let mut room = [0; size_of::<Room>()];
        let subject = subject(resource, &mut room);
        let (denies, by) = strongest(&self.denying, action, &subject, &asked);
        if let (Truth::Yes, Some(by)) = (denies, by) {
            return Decision::Denied(by);
        }
        match strongest(&self.allowing, action, &subject, &asked) {
            (Truth::No, _) => Decision::NotAllowed,
            (Truth::Yes, Some(by)) if denies == Truth::No => Decision::Allowed(by),
            _ => Decision::Depends,
        }
    }
}

/// How surely one of the statements matches, and the first that surely does.
fn strongest(
    statements: &[Statement],
    action: ActionId,
    subject: &Subject<'_>,
    asked: &Asked<'_>,
) -> (Truth, Option<By>) {
    let mut strongest = Truth::No;
    for statement in statements.iter().filter(|s| s.actions.has(action)) {
        match statement.matches(subject, asked) {
            Truth::Yes => {
                let by = By { policy: Arc::clone(&statement.policy), statement: statement.number };
                return (Truth::Yes, Some(by));
            }
            truth => strongest = strongest.max(truth),
        }
    }
    (strongest, None)
}

impl Statement {
    fn matches(&self, subject: &Subject<'_>, asked: &Asked<'_>) -> Truth {
        let mut on = Truth::No;
        for target in &self.targets {
            on = on.max(target.matches(subject));
            if on == Truth::Yes {
                break;
            }
        }
        if on == Truth::No { on } else { on.min(all_hold(&self.tests, asked)) }
    }
}

/// How surely all conditions hold.
pub(super) fn all_hold(tests: &[Test], asked: &Asked<'_>) -> Truth {
    let mut all = Truth::Yes;
    for test in tests {
        all = all.min(test.holds(asked.value(test.key)));
        if all == Truth::No {
            break;
        }
    }
    all
}

fn subject<'a>(resource: &Resource<'a>, room: &'a mut Room) -> Subject<'a> {
    match *resource {
        Resource::Everything => Subject::Everything,
        Resource::Key { region, account, id, facts } => {
            let text = KeyText::new(id, facts.map(|f| f.creator.0), room);
            Subject::Key { region: region.as_str(), account, text }
        }
        Resource::Identity { account, spellings } => Subject::Identity { account, spellings },
    }
}

/// What conditions can ask about a request.
pub(super) struct Asked<'a> {
    uin: u64,
    owner: u64,
    key: About<'a>,
    conditions: &'a Conditions<'a>,
}

enum About<'a> {
    NoKey,
    UnknownKey,
    Key(Facts<'a>),
}

impl<'a> Asked<'a> {
    /// By a principal about a resource.
    pub fn new(binding: &Binding, resource: &Resource<'a>, conditions: &'a Conditions<'a>) -> Self {
        let key = match *resource {
            Resource::Key { facts: Some(facts), .. } => About::Key(facts),
            Resource::Key { facts: None, .. } => About::UnknownKey,
            Resource::Everything | Resource::Identity { .. } => About::NoKey,
        };
        Asked { uin: binding.uin.0, owner: binding.account.0, key, conditions }
    }

    /// What it has under a key of conditions.
    fn value(&self, key: Key) -> Seen<'a> {
        let conditions = self.conditions;
        match key {
            Key::Ip => conditions.source.map_or(Seen::Absent, |ip| Seen::One(Item::Ip(ip.to_canonical()))),
            Key::CurrentTime => Seen::One(Item::Date(i128::from(conditions.now) * 1_000_000_000)),
            Key::SecureTransport => Seen::One(Item::Flag(conditions.secure)),
            Key::Uin => Seen::One(Item::Number(self.uin)),
            Key::OwnerUin => Seen::One(Item::Number(self.owner)),
            Key::CreateUin => match self.key {
                About::NoKey => Seen::Absent,
                About::UnknownKey => Seen::Unknown,
                About::Key(facts) => Seen::One(Item::Number(facts.creator.0)),
            },
            Key::ResourceTag | Key::Tag => match self.key {
                About::NoKey if key == Key::Tag => Seen::Texts(conditions.request_tags),
                About::NoKey => Seen::Absent,
                About::UnknownKey => Seen::Unknown,
                About::Key(facts) => Seen::Texts(facts.tags),
            },
            Key::RequestTag => Seen::Texts(conditions.request_tags),
            Key::ExternalId => conditions.external_id.map_or(Seen::Absent, |id| Seen::One(Item::Text(id))),
        }
    }
}

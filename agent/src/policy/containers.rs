//! What is done with the connections of other network namespaces: containers, mostly.

use super::selector::{Selector, Who};
use crate::subject::Subject;

/// How far one goes with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reach {
    /// They are not looked at.
    Off,
    /// They are counted: an image has its own roots, which our CA is not among.
    #[default]
    Observe,
    /// They are redirected as those of the host are.
    Meter,
}

/// How far one goes with whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Containers {
    /// With whoever is not listed.
    pub default: Reach,
    /// Whose connections are not looked at.
    pub off: Vec<Selector>,
    /// Whose are counted.
    pub observe: Vec<Selector>,
    /// Whose are redirected.
    pub meter: Vec<Selector>,
    /// For whom providers are reached from the host, and not from where they are.
    pub dial_from_host: Vec<Selector>,
}

impl Containers {
    /// How far one goes with this one. Of several lists that mean it, the one that does least
    /// counts.
    pub fn reach(&self, subject: &Subject) -> Reach {
        let lists =
            [(&self.off, Reach::Off), (&self.observe, Reach::Observe), (&self.meter, Reach::Meter)];
        let listed = lists.iter().find(|(list, _)| means(list, subject));
        listed.map_or(self.default, |(_, reach)| *reach)
    }

    /// Whether its connections are redirected.
    pub fn meters(&self, subject: &Subject) -> bool {
        self.reach(subject) == Reach::Meter
    }

    /// Whether anybody's are.
    pub fn meters_any(&self) -> bool {
        self.default == Reach::Meter || !self.meter.is_empty()
    }

    /// Whether providers are reached from the host for this one. That is a way out that it may not
    /// have had.
    pub fn dials_from_host(&self, subject: &Subject) -> bool {
        means(&self.dial_from_host, subject)
    }
}

fn means(list: &[Selector], subject: &Subject) -> bool {
    if list.is_empty() {
        return false;
    }
    let stems = subject.workload.stems();
    // What a process says of itself opens nothing.
    let who = Who { subject, stems: &stems, agent_name: None, team: None, listed: true };
    list.iter().any(|selector| selector.means(&who).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::selector::Pattern;
    use crate::policy::testing;

    fn container(name: &str) -> Vec<Selector> {
        vec![Selector { container: vec![Pattern::new(name)], ..Selector::default() }]
    }

    #[test]
    fn of_several_lists_the_one_that_does_least_counts() {
        let containers = Containers {
            default: Reach::Observe,
            off: container("db"),
            observe: container("web-canary"),
            meter: container("web*"),
            dial_from_host: container("web-2"),
        };
        let reach = |name| containers.reach(&testing::subject(name, 0, "root"));
        assert_eq!(reach("container:web-1"), Reach::Meter);
        assert_eq!(reach("container:web-canary"), Reach::Observe);
        assert_eq!(reach("container:db"), Reach::Off);
        assert_eq!(reach("container:other"), Reach::Observe);
        assert_eq!(reach("exe:curl"), Reach::Observe, "no container at all");
        assert!(containers.meters_any() && !Containers::default().meters_any());
        let host = |name| containers.dials_from_host(&testing::subject(name, 0, "root"));
        assert!(host("container:web-2") && !host("container:web-1"));
        assert!(!Containers::default().dials_from_host(&testing::subject("exe:curl", 0, "root")));
    }

    #[test]
    fn everybody_can_be_meant() {
        let all = Containers { meter: vec![Selector::default()], ..Containers::default() };
        assert!(all.meters(&testing::subject("exe:curl", 1000, "alice")));
    }
}

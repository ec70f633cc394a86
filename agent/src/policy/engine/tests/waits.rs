//! How long the clients of limits are told to wait.

use proptest::prelude::*;

use super::*;

proptest! {
    /// Whatever a window of a minute holds, who waits for the whole seconds that are told gets
    /// through, and nobody is told more than a minute: SDKs wait no longer by themselves.
    #[test]
    fn p9_who_waits_as_told_gets_through_and_within_a_minute(
        requests in 1_u64..20,
        tokens in 1_000_u64..10_000,
        arrivals in prop::collection::vec((0_u64..20_000, 1_u64..1_000, 0_u64..1_200), 1..80),
    ) {
        let caps = [
            per_minute(requests),
            cap("tokens_per_minute", Quantity::Tokens, Over::Sliding(MINUTE), tokens),
        ];
        let (mut engine, mut time) = engine(vec![limited("rate_limits", "a", &caps)]);
        let subject = agent("a");
        for (gap, asked, used) in arrivals {
            time.pass(Duration::from_micros(gap * 977));
            let call = Call { bound: bound(0, asked, 1), ..testing::call(&subject) };
            let ticket = match engine.admit(&call, true, time.0).verdict {
                Verdict::Pass { ticket, .. } => ticket,
                Verdict::Refuse(denied) => {
                    let told = denied.retry_after.unwrap().as_nanos().div_ceil(1_000_000_000);
                    prop_assert!(told <= 60, "{}", told);
                    time.pass(Duration::from_secs(u64::try_from(told).unwrap()));
                    passes(engine.admit(&call, true, time.0))
                }
                other @ Verdict::Freeze(_) => panic!("{other:?}"),
            };
            let _notices = engine.settle(ticket, &Actual { tokens: used.min(tokens), ..cost_of(0) }, time.0);
        }
    }
}

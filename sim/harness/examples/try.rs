use harness::*;
use std::collections::BTreeMap;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n: u64 = args[1].parse().unwrap();
    let from: u64 = args[2].parse().unwrap();
    let only = args.get(3).filter(|s| *s != "all");
    let mutant: Option<mutants::Mutant> = args.get(4).map(|m| m.parse().unwrap());
    for s in plan::scenarios() {
        if only.is_some_and(|o| *o != s.name) {
            continue;
        }
        let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut probes: BTreeMap<String, u64> = BTreeMap::new();
        let (mut wall, mut ev, mut sim, mut ops, mut fast, mut slow, mut unk) = (0, 0, 0, 0, 0, 0, 0);
        let t = std::time::Instant::now();
        for seed in from..from + n {
            let plan = s.draw(seed);
            let (r, _) = run(
                &plan,
                &RunOptions { mutant, each_level_alone: seed % 20 == 0, judge: std::env::var("NOJUDGE").is_err(), ..RunOptions::default() },
            );
            for f in &r.findings {
                let e = counts.entry(format!("{:?} {} / {}", f.verdict, f.check, f.rule)).or_insert((0, seed));
                e.0 += 1;
                if e.0 <= 1 {
                    println!("   seed {seed} {} {}: {}", f.check, f.rule, f.message);
                }
            }
            for (k, v) in &r.probes {
                *probes.entry(k.clone()).or_default() += v;
            }
            wall += r.wall_ns;
            ev += r.events;
            sim += r.sim_ns;
            ops += r.ops;
            fast += r.fast;
            slow += r.slow;
            unk += r.unknown;
        }
        let el = t.elapsed().as_secs_f64();
        println!(
            "{}: {n} runs {:.0}/s, {:.2} ms/run, {} ev/run, sim {:.1}s/run, ops {} fast {} slow {} unk {}",
            s.name,
            n as f64 / el,
            wall as f64 / n as f64 / 1e6,
            ev / n,
            sim as f64 / n as f64 / 1e9,
            ops / n,
            fast / n,
            slow / n,
            unk as f64 / n as f64
        );
        for (k, v) in counts {
            println!("   {k}: {} (first {})", v.0, v.1);
        }
        if std::env::var("PROBES").is_ok() {
            println!("   {probes:?}");
        }
    }
}

"""Classic histograms that are scraped as native ones with custom buckets, beside a real Prometheus."""
import json

from conftest import running, wait_for
from test_metrics_store import Prometheus
from test_prometheus import Api, Target, config, job

BODY = """# HELP h seconds
# TYPE h histogram
h_bucket{a="x",le="0.5"} 3
h_bucket{a="x",le="1"} 3
h_bucket{a="x",le="2.5"} 7
h_bucket{a="x",le="+Inf"} 9
h_sum{a="x"} 12.5
h_count{a="x"} 9
h_bucket{a="q\\"u\\\\o\\nte",le="1"} 1
h_bucket{a="q\\"u\\\\o\\nte",le="+Inf"} 1
h_sum{a="q\\"u\\\\o\\nte"} 0.5
h_count{a="q\\"u\\\\o\\nte"} 1
# TYPE f histogram
f_bucket{le="1"} 1.5
f_bucket{le="+Inf"} 2.25
f_sum 3
f_count 2.25
# TYPE bad histogram
bad_bucket{le="1"} 5
bad_bucket{le="+Inf"} 2
bad_sum 1
bad_count 2
# TYPE other gauge
other_bucket{le="1"} 4
other 1
# TYPE s summary
s_sum 1
s_count 2
"""


def test_as_prometheus(tmp_path):
    targets = [Target(), Target()]
    targets[0].body = BODY
    targets[1].body, targets[1].type = BODY + "# EOF\n", "application/openmetrics-text; version=1.0.0"
    try:
        text = config(job("classic", targets[0].address, more="  always_scrape_classic_histograms: true\n"),
                      job("plain", *[t.address for t in targets]))
        text = text.replace("scrape_configs:", "  convert_classic_histograms_to_nhcb: true\nscrape_configs:").replace("500ms", "1s")
        with running(mount=False) as d, Prometheus(tmp_path / "p", text) as theirs:
            d.prometheus.write_text(text)
            api = Api(d)
            for who in (api, theirs):
                wait_for(lambda: len(who.query("up == 1")) == 3, what="the scrapes")
            queries = ['{__name__=~".+",__name__!~"scrape_.*"}', 'histogram_quantile(0.6, h)', "histogram_fraction(0, 1, h)", "sum(h)",
                       'count by (__name__, job) ({__name__!=""})', "scrape_samples_scraped", "scrape_samples_post_metric_relabeling"]

            def same(q):  # a busy machine may be too late with a scrape of one of them
                ours, want = [{json.dumps(s["metric"], sort_keys=True): s.get("value", s.get("histogram"))[1] for s in who.query(q)}
                              for who in (api, theirs)]
                assert ours == want, q
                return True

            for q in queries:
                wait_for(lambda: same(q), what=q)
            wait_for(lambda: len(api.query('h{job="plain"}')) == 4, what="the native ones")
            wait_for(lambda: not api.query('h_bucket{job="plain"}') and api.query('h_bucket{job="classic"}'), what="the classic ones")
    finally:
        for t in targets:
            t.close()

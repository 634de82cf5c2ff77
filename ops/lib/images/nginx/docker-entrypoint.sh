#!/bin/sh
# As the image's 20-envsubst-on-templates.sh: each template becomes a file of conf.d, with the variables
# that the environment has and no others, so that nginx's own $names stay.
set -e
names=$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/${\1}/p')
for template in /etc/nginx/templates/*.template; do
    [ -e "$template" ] || continue
    file=/etc/nginx/conf.d/$(basename "$template" .template)
    echo "$0: $template to $file"
    envsubst "$names" <"$template" >"$file"
done
exec "$@"

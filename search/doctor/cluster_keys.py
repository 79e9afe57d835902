"""Keys of a cluster file that Ray takes without knowing them: the provider's, and those of an AWS
machine.
"""

from __future__ import annotations

_ANY = (
    "type module use_internal_ips disable_node_updaters disable_launch_config_check "
    "foreground_node_launch worker_liveness_check"
)
_AWS = (
    "region availability_zone cache_stopped_nodes security_group key_pair aws_credentials "
    "cloudwatch"
)
_LOCAL = "head_ip worker_ips external_head_ip coordinator_address"
# EC2's RunInstances, less the counts, which Ray gives; and SubnetIds, which Ray tries one after the
# other.
_MACHINE = """
AdditionalInfo BlockDeviceMappings CapacityReservationSpecification CpuOptions CreditSpecification
DisableApiStop DisableApiTermination EbsOptimized ElasticGpuSpecification
ElasticInferenceAccelerators EnablePrimaryIpv6 EnclaveOptions HibernationOptions IamInstanceProfile
ImageId InstanceInitiatedShutdownBehavior InstanceMarketOptions InstanceType Ipv6AddressCount
Ipv6Addresses KernelId KeyName LaunchTemplate LicenseSpecifications MaintenanceOptions
MetadataOptions Monitoring NetworkInterfaces NetworkPerformanceOptions Operator Placement
PrivateDnsNameOptions PrivateIpAddress RamdiskId SecondaryInterfaces SecurityGroupIds SecurityGroups
SubnetId SubnetIds TagSpecifications UserData
"""
PROVIDER = {
    "aws": frozenset(f"{_ANY} {_AWS}".split()),
    "local": frozenset(f"{_ANY} {_LOCAL}".split()),
}
"""As Ray's node providers read them; other kinds of provider are not checked."""
NODE_CONFIG = frozenset(_MACHINE.split())
